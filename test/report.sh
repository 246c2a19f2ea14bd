#!/bin/sh
# shellcheck disable=SC2317  # functions are called by name, through check
# report.sh BIN_DIR: compare --html in a browser: the page of a study is loaded in headless Chromium, used as a reader
# does (test/report_page.js), and searched for what it must say. Prints "ok NAME" or "not ok NAME" a test.
set -u

bin=$(cd "${1:-build/release/bin}" && pwd) || exit 1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work" || exit 1
failed=0

check() { # check NAME COMMAND...
    name=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "ok $name"
    else
        cat "$work/said"
        echo "not ok $name"
        failed=1
    fi
}

browser() { # browser PAGE: the page's DOM once its scripts have run, and without them
    timeout 300 chromium --headless --no-sandbox --disable-gpu --no-first-run --user-data-dir="$work/profile" --window-size=1280,900 \
        --dump-dom "file://$1" 2>"$work/browser.log" | sed 's|</script>|&\n|g' | sed '/<script/,/<\/script>/d'
}

# ---- a study made by hand: two methods, three seeds, final losses 3.10 3.12 3.14 and 3.20 3.25 3.30 --------------------

steps() { # steps LOSS SEED: 40 steps of 64 tokens and 0.25 s, evaluated every 10th
    awk -v loss="$1" -v seed="$2" 'BEGIN {
        for (s = 0; s <= 40; s++) {
            printf "{\"step\":%d,\"tokens\":%d,\"time_s\":%g,\"flops\":%d", s, 64 * s, s / 4, 64000 * s
            if (s) printf ",\"train/loss\":%.6f,\"lr\":0.01,\"grad_norm\":1.5,\"forward_s\":0.1,\"backward_s\":0.1", \
                loss + 4 * exp(-s / 8) + sin(s * seed) / 20
            if (s % 10 == 0) printf ",\"val/loss\":%.6f", loss + (s < 40 ? 4 * exp(-s / 8) : 0)
            print "}"
        }
    }'
}

runs=
a_run() { # a_run METHOD OPTIMIZER SEED LOSS [TRUNK'S METHOD]
    trunk=null branch_step=null
    [ -z "${5:-}" ] || trunk="\"runs/$5/seed=$3\"" branch_step=20
    folder=study/runs/$1/seed=$3
    mkdir -p "$folder"
    echo "{\"optimizer\":{\"name\":\"$2\",\"lr\":0.01},\"train\":{\"seed\":$3},\"run\":{\"dir\":\"x\"}}" >"$folder/config.json"
    steps "$4" "$3" >"$folder/metrics.jsonl"
    echo '{"outcome":"finished"}' >"$folder/summary.json"
    printf -- '--- step 40 ---\n</script><img src=x onerror=alert(1)>\377\n\n' >"$folder/samples.txt"
    echo '{"command":"./train_gpt <b>","cpu":"a CPU","commit":"abc123"}' >"$folder/machine.json"
    printf '{"step":%d,"tokens":64,"noise_phi":0.5,"tensors":[{"name":"h.0.weight","role":"matrix","noise_phi":0.25,"sigma":[0.001,0.1,1],"sigma_update":[0.5,0.9,1]}]}\n' \
        1 40 >"$folder/diagnostics.jsonl"
    runs="$runs{\"dir\":\"runs/$1/seed=$3\",\"method\":\"$1\",\"phase\":\"final\",\"settings\":{\"optimizer.lr\":0.01},\"seed\":$3,\"trunk\":$trunk,\"branch_step\":$branch_step,\"state\":\"done\",\"loss\":$4},"
}

tuned() { # tuned METHOD LR LOSS, null: diverged
    state="done"
    [ "$3" != null ] || state=diverged
    runs="$runs{\"dir\":\"runs/$1/lr=$2\",\"method\":\"$1\",\"phase\":\"tune\",\"settings\":{\"optimizer.lr\":$2},\"seed\":1,\"trunk\":null,\"branch_step\":null,\"state\":\"$state\",\"loss\":$3},"
}

method() { # method NAME EDGE TRUNK
    echo "{\"name\":\"$1\",\"optimizer\":\"$1\",\"trunk\":$3,\"settings\":{\"optimizer.lr\":0.01},\"edge\":$2}"
}

a_run soft softsignum 1 3.10 hard
a_run soft softsignum 2 3.12 hard
a_run soft softsignum 3 3.14 hard
a_run hard signum 1 3.20
a_run hard signum 2 3.25
a_run hard signum 3 3.30
tuned soft 0.001 3.5
tuned soft 0.1 3.4
tuned soft 1 null
tuned hard 0.001 3.6
echo "{\"name\":\"small\",\"baseline\":\"hard\",\"state\":\"done\",\"methods\":[$(method soft null '"hard"'),$(method hard '"optimizer.lr at its highest value"' null)],\"runs\":[${runs%,}]}" >study/index.json

# ---- what it must say ---------------------------------------------------------------------------------------------

page=$work/report.html
check a_study_gives_a_report "$bin/compare" --html "$page" study
the_same_again() {
    "$bin/compare" --html again.html study && cmp again.html report.html
}
check twice_the_same_bytes the_same_again
{ cat "$page"; echo '<script>'; cat "$root/test/report_page.js"; echo '</script>'; } >used.html
browser "$work/used.html" >dom.html
sed -n '/<pre id="outcome">/,/<\/pre>/p' dom.html | sed 's/.*<pre id="outcome">//; /<\/pre>/d' | grep -E '^(not )?ok ' >used || {
    echo "not ok the_page_can_be_used"
    tail -n 5 browser.log
    failed=1
}
cat used
! grep -q '^not ok' used || failed=1

browser "$page" >dom.html
says() {
    for words in "$@"; do grep -qF -e "$words" dom.html || { echo "the page lacks: $words"; return 1; }; done
}
check numbers_are_those_worked_out_by_hand says "22.65" ">3.1200 ± 0.012<" ">3.2500 ± 0.029<"
check verdicts_name_test_and_correction says "paired t-test" "Holm" "−0.1300 ± 0.017 (3 pairs), p = 0.017" ">better<"
check branches_are_held_against_their_trunks says "for all 1 comparison of this table" ">lr=0.01<"
check headings_are_there says ">Results<" ">Branches against their trunks<" ">Loss curves<" ">Differences<" ">What was tuned<" ">Diagnostics<" ">Where the time went<" \
    ">Samples<" ">Provenance<" ">Singular values before and after the map<"
check edges_are_warned_of says "the chosen point lies on the edge of its grid" "on the edge: a better value may lie beyond"
check provenance_is_told says "optimizer.name" "./train_gpt &lt;b&gt;" "commit abc123" "1 2 3"
check nothing_failed_while_drawing grep -qE 'id="problem" hidden' dom.html
loads_nothing() {
    ! sed 's|http://www.w3.org/2000/svg||g' "$page" | grep -nE 'https?://|src=["h]|<link|@import|url\([^#`]|fetch\(|XMLHttp|WebSocket|sendBeacon|import\(' &&
        grep -q "default-src 'none'" "$page"
}
check the_page_loads_nothing loads_nothing

browser "$page#x=toString&base=soft" >dom.html
check a_link_may_name_the_baseline says 'selected="">soft</option>' 'aria-pressed="true">steps<' 'id="problem" hidden'
check a_baseline_that_is_there_is_not_missed sh -c '! grep -qF "This report has no differences" dom.html'
sed 's/"baselines_max":12/"baselines_max":0/' "$page" >few.html
browser "$work/few.html#base=soft" >dom.html
check a_baseline_beyond_the_limit_is_told says "This report has no differences to soft" "Differences are to the baseline and the best 0 methods" \
    'selected="">hard</option>'

# ---- little, and much ---------------------------------------------------------------------------------------------

check one_run_has_a_report "$bin/compare" --html one.html study/runs/soft/seed=1
browser "$work/one.html" >dom.html
check one_run_is_shown says ">Loss curves<" "One run a method" 'id="problem" hidden'
check one_run_has_no_verdict sh -c '! grep -qF Holm dom.html'

exit $failed
