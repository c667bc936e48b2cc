/* A program that lists, runs and sums up as one with Wine's include/wine/test.h does (Wine 8.0): the list goes to
 * standard output with four blanks before each name, the summary to standard output, and the exit code is the number
 * of failures, 255 at most. Written anew: that header is in no package. */

#include <stdio.h>
#include <string.h>
#include <windows.h>

static int executed, todo, failures, skipped;

static void ok(int condition, int expected_to_fail, const char *what) {
    executed++;
    if (expected_to_fail && !condition) {
        todo++;
        printf("cases.c:1: Test marked todo: %s\n", what);
    } else if (!condition) {
        failures++;
        printf("cases.c:1: Test failed: %s\n", what);
    }
}

static void test_passes(void) { ok(1, 0, "always"); }

static void test_fails(void) {
    ok(0, 0, "never");
    ok(0, 0, "never either");
}

static void test_skips(void) {
    skipped++;
    printf("cases.c:1: Tests skipped: nothing to do here\n");
}

static void test_todo(void) {
    ok(1, 0, "always");
    ok(0, 1, "not yet");
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {{"passes", test_passes}, {"fails", test_fails}, {"skips", test_skips}, {"todo", test_todo}};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        printf("Valid test names:\n");
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
            printf("    %s\n", cases[i].name);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(*cases); i++)
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run();
            printf("%04lx:%s:0.001 %d tests executed (%d marked as todo, 0 as flaky, %d %s), %d skipped.\n",
                   GetCurrentProcessId(), argv[1], executed, todo, failures, failures == 1 ? "failure" : "failures",
                   skipped);
            return failures < 255 ? failures : 255;
        }
    printf("Fatal: test '%s' does not exist.\n", argc > 1 ? argv[1] : "");
    return 2;
}
