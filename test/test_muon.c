/* test_muon.c: Muon and SoftMuon as optimizers, against float64 trajectories and their own promises. */
#include "core/rng.h"
#include "optim/optim.h"
#include "optim/temperature.h"
#include "test/golden.h"

#define GOLDEN "test/golden/optim/"

static void official_hard_phase_should_match(void **state) {
    (void)state;
    double error = golden_error(GOLDEN "softmuon_official_hard.json", "muon", "", 0.02, 0.01);
    print_message("muon: %.1e\n", error);
    assert_true(error < 1e-5);
    assert_true(golden_error(GOLDEN "softmuon_official_hard.json", "softmuon", "alpha_sign=1", 0.02, 0.01) <
                1e-5);
}

static void official_soft_phase_should_match(void **state) {
    (void)state;
    double error = golden_error(GOLDEN "softmuon_official_soft.json", "softmuon",
                                "alpha_sign=0.6 statistics=gradient soft_iteration=coupled", 0.02, 0.01);
    print_message("coupled: %.1e\n", error);
    assert_true(error < 1e-5);
}

static void paper_form_should_match(void **state) {
    (void)state;
    const char *common = "momentum=0.9 alpha_sign=0.6 coefficients=converged";
    const struct {
        const char *file, *settings;
    } cases[] = {{GOLDEN "softmuon_paper.json", "map=algebraic nesterov=true"},
                 {GOLDEN "softmuon_tanh.json", "map=tanh nesterov=true"},
                 {GOLDEN "softmuon_clip.json", "map=clip nesterov=false"}};
    for (int i = 0; i < 3; i++) {
        char settings[256];
        snprintf(settings, sizeof settings, "%s %s", common, cases[i].settings);
        double error = golden_error(cases[i].file, "softmuon", settings, 0.01, 0.1);
        print_message("%s: %.1e\n", cases[i].settings, error);
        assert_true(error < 1e-5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_hard_phase_should_match),
        cmocka_unit_test(official_soft_phase_should_match),
        cmocka_unit_test(paper_form_should_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
