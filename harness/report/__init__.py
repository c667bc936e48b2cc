"""What people and CI servers read of a run: the HTML page, annotations of GitHub Actions."""

from harness.report.write import render_report, write_report

__all__ = ["render_report", "write_report"]
