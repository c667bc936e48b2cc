// Cases for a real GoogleTest: every way in which its list and its summary can look.

#include <gtest/gtest.h>

TEST(Registry, Opens) { EXPECT_EQ(1, 1); }

TEST(Registry, Fails) { EXPECT_EQ(1, 2) << "as it should"; }

TEST(Registry, Skips) { GTEST_SKIP() << "nothing to do here"; }

TEST(Registry, DISABLED_Later) { FAIL(); }

TEST(Registry, Crashes) { *static_cast<volatile int *>(nullptr) = 1; }

class Values : public testing::TestWithParam<const char *> {};

TEST_P(Values, Kept) { EXPECT_STRNE(GetParam(), ""); }

INSTANTIATE_TEST_SUITE_P(Types, Values, testing::Values("REG_SZ.", "a # b", "spaces  in it"));

template <typename T> class Typed : public testing::Test {};

using Types = testing::Types<int, unsigned long long>;
TYPED_TEST_SUITE(Typed, Types);

TYPED_TEST(Typed, Works) { EXPECT_GE(sizeof(TypeParam), 4u); }

int main(int argc, char **argv) {
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
