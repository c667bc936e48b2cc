"""The steps from every former state of the tables to the present one."""
