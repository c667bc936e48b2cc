// Cases for a real Catch2 of before 3.0, with names that mean something in its own language for selecting tests.

#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

TEST_CASE("opens a key", "[registry]") { REQUIRE(1 == 1); }

TEST_CASE("reads [a] value, twice", "[registry][values]") { REQUIRE(1 == 1); }

TEST_CASE("fails: \"as it should\"") {
    SECTION("once") { CHECK(1 == 2); }
    SECTION("and again") { CHECK(1 == 2); }
}

TEST_CASE("throws what nobody caught") { throw 7; }
