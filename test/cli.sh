#!/bin/sh
# cli.sh [BIN_DIR]: the programs as their users meet them: exit status, the one line that says what is wrong, files.
# Prints "ok NAME" or "not ok NAME" a test. A test is a function whose body is a subshell; each runs alone:
#
#     test/cli.sh build/release/bin missing_data_says_what_to_type
set -u

bin=$(cd "${1:-build/release/bin}" && pwd) || exit 1
root=$(cd "$(dirname "$0")/.." && pwd)
script=$root/test/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work" || exit 1
[ $# -eq 0 ] || shift

# ---- what tests are written with; each helper says what it missed ---------------------------------------------

# run COMMAND...: leaves $status and the files out and err
run() {
    status=0
    "$@" >"$work/out" 2>"$work/err" || status=$?
}

# does STATUS COMMAND...
does() {
    wanted=$1
    shift
    run "$@"
    [ "$status" -eq "$wanted" ] && return
    echo "exit status $status, not $wanted: $*"
    tail -n 20 "$work/out" "$work/err"
    return 1
}

# fails STATUS "WORDS" COMMAND...: and all it says is one line with WORDS in it
fails() {
    words=$2
    wanted=$1
    shift 2
    does "$wanted" "$@" && is "$(wc -l <"$work/err")" 1 && says "error: " "$words"
}

# says WORDS...: stderr has them all
says() {
    for said in "$@"; do
        has "$work/err" "$said" || return 1
    done
}

has() { # FILE WORDS
    grep -qF -e "$2" "$1" && return
    echo "$1 lacks: $2"
    cat "$1"
    return 1
}

lacks() { # FILE REGEX
    if grep -qiE -e "$2" "$1"; then
        echo "$1 has: $(grep -iE -e "$2" "$1" | head -n 3)"
        return 1
    fi
}

is() { # TEXT TEXT
    [ "$1" = "$2" ] && return
    echo "'$1' is not '$2'"
    return 1
}

less() { # NUMBER NUMBER
    awk "BEGIN { exit !($1 < $2) }" && return
    echo "$1 is not less than $2"
    return 1
}

absent() { # PATH...
    for there in "$@"; do
        [ -e "$there" ] && echo "$there was written" && return 1
    done
    return 0
}

train() {
    "$bin/train_gpt" "$work/tiny.json" "$@"
}

full() { # COMMAND...: its output goes to a full disk
    "$@" >/dev/full
}

# value FILE KEY: a number, word or text of a JSON file
value() {
    sed -nE "s/.*\"$2\":[[:space:]]*\"?([^\",]*).*/\1/p" "$1"
}

# curves RUN: metrics.jsonl without what a clock measured
curves() {
    sed -E 's/,"[a-z_]+_s":[^,}]*//g' "$1/metrics.jsonl"
}

same_curves() { # RUN RUN...
    curves "$1" >"$work/curves"
    first=$1
    shift
    for other in "$@"; do
        curves "$other" | cmp "$work/curves" - || { echo "$first and $other differ" && return 1; }
    done
}

# figures RUN KEY: its values, a line each
figures() {
    sed -nE "s|.*\"$2\":([^,}]*).*|\1|p" "$1/metrics.jsonl"
}

# start RUN [OVERRIDE...]: an endless run in the background, as $pid; returns when it is under way
start() {
    folder=$1
    shift
    pid=
    trap '[ -z "$pid" ] || kill -KILL "$pid"' EXIT
    "$bin/train_gpt" "$work/tiny.json" run.dir="$folder" train.steps=1000000 "$@" >"$folder.out" 2>"$folder.err" &
    pid=$!
    tries=0
    until [ -e "$folder/metrics.jsonl" ] && [ "$(wc -l <"$folder/metrics.jsonl")" -ge 3 ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { cat "$folder.err" && return 1; }
        sleep 0.1
    done
}

# stop SIGNAL: to what start began; leaves its exit $status
stop() {
    kill -s "$1" "$pid"
    reap
}

# The same for what may have ended by itself before
stop_or_over() {
    kill -s "$1" "$pid" || :
    reap
}

reap() {
    status=0
    wait "$pid" || status=$?
    pid=
}

# Bytes into the middle of a file: poke FILE OFFSET '\003\377'
poke() {
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# ---- the world of all tests: 40 documents, their tokens, a model of 36 thousand weights -------------------------

mkdir text
awk 'BEGIN {
    words = "the cat sat on a mat and saw some very little mice who were not at all afraid of it because they had " \
        "known her since long before winter came"
    n = split(words, word, " ")
    for (document = 0; document < 40; document++) {
        for (line = 0; line < 12; line++) {
            for (i = 0; i < 9; i++) {
                x = (x * 1103515245 + 12345) % 2147483648
                printf "%s%s", word[int(x / 65536) % n + 1], i < 8 ? " " : ".\n" > "text/" document ".txt"
            }
        }
        close("text/" document ".txt")
    }
}'
cat >tiny.json <<END
{
    "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 32},
    "data": {"dir": "$work/data"},
    "schedule": {"warmup_steps": 2},
    "train": {"steps": 20, "batch_size": 4},
    "eval": {"every": 10, "tokens": 256},
    "log": {"every": 1},
    "optimizer": {"name": "adamw", "lr": 0.003}
}
END
does 0 "$bin/prepare" text --out data --vocab-size 300 || exit 1
does 0 train run.dir=adamw || exit 1

# ---- prepare -----------------------------------------------------------------------------------------------------

prepare_leaves_a_folder_that_is_whole() (
    is "$(cd data && echo *)" "dataset.json tokenizer.json train_000000.bin val_000000.bin"
    is "$(value data/dataset.json vocab_size)" 300
    is "$(od -An -t d4 -N 8 data/train_000000.bin | tr -s ' ')" " 20240520 1"
)

preparing_again_gives_the_same_bytes_and_keeps_what_else_is_there() (
    cp -r data again
    echo mine >again/notes.txt
    does 0 "$bin/prepare" text --out again --vocab-size 300
    has again/notes.txt mine
    rm again/notes.txt
    diff -r data again
)

prepare_refuses_what_is_no_text() (
    mkdir none
    : >empty.txt
    printf 'abc\000def' >zero.txt
    printf 'caf\351\n' >latin1.txt
    fails 3 "empty.txt: " "$bin/prepare" empty.txt --out never
    fails 3 "zero.txt: binary" "$bin/prepare" zero.txt --out never
    fails 3 "latin1.txt: " "$bin/prepare" latin1.txt --out never
    fails 3 "none: " "$bin/prepare" none --out never
    fails 3 "gone.txt: no such file" "$bin/prepare" gone.txt --out never
    absent never
)

prepare_refuses_a_wrong_command_line() (
    fails 2 "--vocabsize" "$bin/prepare" text --out never --vocabsize 300
    fails 2 "--out" "$bin/prepare" text
    fails 2 "no text given" "$bin/prepare" --out never
    fails 2 "[257,50257]" "$bin/prepare" text --out never --vocab-size 70000
    fails 2 "--vocab-size many: not a whole number" "$bin/prepare" text --out never --vocab-size many
    fails 2 "--vocab-size" "$bin/prepare" text --out never --vocab-size
    fails 2 "--val-frac 2" "$bin/prepare" text --out never --val-frac 2
    absent never
)

prepare_says_when_it_cannot_write() (
    fails 1 "tiny.json/x" "$bin/prepare" text --out tiny.json/x
    fails 1 "tiny.json" "$bin/prepare" text --out tiny.json
    has tiny.json n_layer
)

# ---- training ----------------------------------------------------------------------------------------------------

every_optimizer_learns() (
    names=$("$bin/train_gpt" --list-optimizers | sed -nE 's/^([a-z_0-9]+) +([0-9.e-]+) .*/\1=\2/p')
    for name_lr in $names; do # each at its own default rate
        name=${name_lr%=*}
        does 0 train optimizer.name="$name" optimizer.lr="${name_lr#*=}" run.dir="learn/$name"
        losses=$(figures "learn/$name" val/loss)
        is "$(echo "$losses" | wc -l)" 3 # steps 0, 10 and 20
        less "$(echo "$losses" | tail -n 1)" "$(echo "$losses" | head -n 1)"
        lacks "learn/$name/metrics.jsonl" 'nan|inf'
        is "$(value "learn/$name/summary.json" finished)" true
    done
    echo "$names" | grep -q '^softmuon='
    echo "$names" | grep -q '^softsignum='
)

soft_methods_log_temperature_and_saturation() (
    for name in softsignum softmuon; do
        does 0 train optimizer.name="$name" optimizer.alpha_sign=0.5 run.dir="soft/$name"
        is "$(figures "soft/$name" temperature | grep -c null)" 10
        is "$(figures "soft/$name" temperature | grep -c '[0-9]')" 10
        is "$(figures "soft/$name" saturated_frac | wc -l)" 20
        does 0 train optimizer.name="$name" optimizer.alpha_sign=0.5 run.dir="soft/seldom_$name" log.every=5
        for step in 10 15; do # figures of the step itself, not of one that was not logged
            for key in temperature saturated_frac; do
                is "$(grep "\"step\":$step," "soft/$name/metrics.jsonl" | sed -E "s/.*\"$key\":([^,}]*).*/\1/")" \
                    "$(grep "\"step\":$step," "soft/seldom_$name/metrics.jsonl" | sed -E "s/.*\"$key\":([^,}]*).*/\1/")"
            done
        done
    done
)

a_run_is_a_folder_of_promised_files() (
    is "$(cd adamw && echo *)" "checkpoints config.json lock machine.json metrics.jsonl samples.txt summary.json"
    is "$(wc -l <adamw/metrics.jsonl)" 21
    line=$(tail -n 1 adamw/metrics.jsonl)
    for key in step tokens time_s train/loss val/loss lr grad_norm tokens_per_s forward_s backward_s optimizer_s eval_s; do
        echo "$line" | grep -qE "\"$key\":[0-9]" || is "$line" "a line with $key"
    done
    is "$(figures adamw tokens | tail -n 1)" 2560
    is "$(figures adamw flops | tail -n 1)" "$((2560 * (6 * (12 * 2 * 32 * 32 + 384 * 32) + 6 * 2 * 32 * 32)))" # 300 ids padded to 384
    for key in command compiler cpu threads flags commit; do has adamw/machine.json "\"$key\""; done
    lacks adamw/machine.json unknown
    is "$(value adamw/summary.json outcome)" finished
)

a_saved_config_gives_the_same_run() (
    does 0 "$bin/train_gpt" adamw/config.json run.dir=fed_back
    same_curves adamw fed_back
)

running_twice_gives_the_same_bits() (
    does 0 train run.dir=twice
    same_curves adamw twice
)

another_seed_gives_another_run() (
    does 0 train train.seed=2 run.dir=seed2
    if same_curves adamw seed2 >/dev/null; then is "seed 2" "another run"; fi
)

any_threads_schedule_and_micro_batch_give_the_same_bits() (
    again() { # NAME BATCH ACCUM THREADS SCHEDULE OVERRIDE...
        dir=bits/$1.$2.$4.$5
        name=$1 batch=$2 accum=$3 threads=$4 schedule=$5
        shift 5
        export OMP_SCHEDULE="$schedule"
        does 0 train optimizer.name="$name" run.dir="$dir" train.threads="$threads" \
            train.batch_size="$batch" train.grad_accum="$accum" train.steps=2 schedule.warmup_steps=0 eval.tokens=96 "$@"
        same_curves "bits/$name.6.1.dynamic" "$dir"
    }
    with() { # NAME OVERRIDE...
        name=$1
        shift
        again "$name" 6 1 1 dynamic "$@"
        again "$name" 3 2 2 static "$@"
        again "$name" 2 3 3 dynamic "$@"
        again "$name" 1 6 7 static "$@"
        again "$name" 3 2 16 dynamic "$@"
    }
    # wide enough that gradients and states are cut into several pieces
    with adamw model.n_layer=1 model.n_embd=192
    with softsignum optimizer.alpha_sign=0.5 model.n_layer=1 model.n_embd=192
    with softmuon optimizer.alpha_sign=0.5
    with soap
)

two_half_batches_learn_like_one_whole() (
    does 0 train train.batch_size=2 train.grad_accum=2 run.dir=halves
    is "$(figures halves tokens)" "$(figures adamw tokens)"
    whole=$(figures adamw train/loss | tail -n 1)
    half=$(figures halves train/loss | tail -n 1)
    less "($whole - $half)^2" 1e-8
)

validation_is_on_the_same_tokens_each_time() (
    does 0 train optimizer.lr=0 run.dir=still
    is "$(figures still val/loss | sort -u | wc -l)" 1
    is "$(figures still train/loss | sort -u | wc -l)" 20
)

samples_are_written_and_do_not_disturb_the_run() (
    does 0 train sample.every=10 sample.tokens=20 sample.prompt="the cat" run.dir=sampled
    has "$work/out" "the cat"
    is "$(grep -c '^--- step [12]0 ---$' sampled/samples.txt)" 2
    same_curves adamw sampled
)

an_earlier_run_is_moved_aside() (
    does 0 train run.dir=kept train.seed=7
    cp -r kept copy
    does 0 train run.dir=kept
    has "$work/out" kept.1
    diff -r copy kept.1
    same_curves adamw kept
)

divergence_stops_before_the_update() (
    fails 6 "step 2: " train run.dir=diverged optimizer.name=sgd optimizer.lr=1e30 train.grad_clip=0 schedule.warmup_steps=0
    says "data/train_000000.bin, token " "not finite" "learning rate"
    is "$(tail -n 1 diverged/metrics.jsonl | cut -c 1-10)" '{"step":1,'
    lacks diverged/metrics.jsonl 'nan|inf|null'
    is "$(value diverged/summary.json outcome)" diverged
    is "$(value diverged/summary.json finished)" false
)

divergence_in_the_last_update_is_seen() (
    fails 6 "step 1: the validation loss is not finite" train run.dir=last optimizer.name=sgd optimizer.lr=1e30 \
        train.grad_clip=0 train.steps=1 schedule.warmup_steps=0
    is "$(value last/summary.json outcome)" diverged
)

steps_before_a_failure_are_in_the_log() (
    cp -r data late
    poke late/train_000000.bin 3024 '\054\001' # id 300, which does not exist, somewhere in the first epoch
    fails 3 "is id 300" train data.dir=late run.dir=often train.steps=90 eval.every=0
    fails 3 "is id 300" train data.dir=late run.dir=seldom train.steps=90 eval.every=0 log.every=1000
    less 3 "$(wc -l <often/metrics.jsonl)"
    is "$(figures often train/loss | tail -n 1)" "$(figures seldom train/loss | tail -n 1)"
)

a_reader_that_leaves_does_not_end_the_run() (
    { train run.dir=piped train.steps=200 2>told || echo $? >code; } | true
    is "$(cat code)" 1
    has told "stdout cannot be written"
    is "$(value piped/summary.json finished)" true
)

samples_work_with_a_context_of_one_token() (
    does 0 "$bin/prepare" text --out bytes --tokenizer byte
    most_likely="data.dir=bytes model.block_size=1 sample.every=20 sample.top_k=1"
    # shellcheck disable=SC2086
    does 0 train run.dir=narrow $most_likely sample.prompt=th sample.tokens=4
    text=$(sed -n 2p narrow/samples.txt)
    # shellcheck disable=SC2086
    does 0 train run.dir=narrower $most_likely sample.prompt="${text%?}" sample.tokens=1
    is "$(sed -n 2p narrower/samples.txt)" "$text"
)

a_tokenizer_larger_than_the_model_is_refused() (
    fails 2 "model.vocab_size: 299 ids are fewer than the 300 of " train run.dir=never model.vocab_size=299 sample.every=5
    absent never
)

signals_end_a_run_cleanly() (
    for signal in INT TERM USR1; do
        start "stopped$signal"
        stop "$signal"
        is "$status" 75
        is "$(wc -l <"stopped$signal.err")" 1
        has "stopped$signal.err" "stopped$signal"
        is "$(value "stopped$signal/summary.json" outcome)" stopped
        is "$(tail -c 2 "stopped$signal/metrics.jsonl")" '}'
        absent "stopped$signal"/*.tmp
    done
)

a_killed_run_can_be_read_and_followed_by_another() (
    start killed
    stop KILL
    absent killed/summary.json
    does 0 "$bin/compare" adamw killed
    has "$work/out" killed
    does 0 train run.dir=killed
    same_curves adamw killed
    absent killed.1/summary.json
)

the_second_process_in_a_run_folder_exits_and_writes_nothing() (
    start busy
    cksum busy/config.json busy/machine.json >before
    fails 7 "busy: another process" train run.dir=busy train.seed=5
    cksum busy/config.json busy/machine.json | diff before -
    absent busy.1 busy/summary.json
    stop TERM
    is "$status" 75
)

# diagnosis RUN: diagnostics.jsonl without what a clock measured
diagnosis() {
    sed -E 's/,"cost_s":[^,}]*//' "$1/diagnostics.jsonl"
}

diagnostics_do_not_disturb_a_run() (
    for name in softmuon sf_adamw softsignum; do
        set -- optimizer.name=$name train.batch_size=2 train.grad_accum=2 log.every=3
        does 0 train "$@" run.dir="blind/$name"
        does 0 train "$@" run.dir="seen/$name" diagnostics.every=4 diagnostics.noise_every=7 diagnostics.noise_batches=3
        absent "blind/$name/diagnostics.jsonl"
        same_end "blind/$name" "seen/$name" 00000020
        is "$(sed -E 's/.*"step":([0-9]*).*/\1/' "seen/$name/diagnostics.jsonl" | xargs)" "1 4 7 8 12 14 16 20"
        is "$(grep -c noise_phi "seen/$name/diagnostics.jsonl")" 4 # 1, 7, 14, 20
        lacks "seen/$name/diagnostics.jsonl" 'nan|inf[^"]'
        is "$(figures "blind/$name" diagnostics_s)" ""
        [ -n "$(figures "seen/$name" diagnostics_s)" ]
    done
    does 0 train run.dir=seen/norms diagnostics.every=1 diagnostics.spectra=false
    is "$(figures seen/norms grad_norm | cut -c 1-7)" \
        "$(sed -E 's/.*"cost_s":[^l]*l1[^l]*"grad_l2":([^,]*).*/\1/' seen/norms/diagnostics.jsonl | cut -c 1-7)"
    lacks seen/norms/diagnostics.jsonl 'nuclear|spectral|sigma'
)

diagnostics_have_the_same_bytes_for_any_threads_and_micro_batches() (
    set -- model.n_embd=192 model.n_layer=1 train.steps=3 optimizer.name=softmuon optimizer.alpha_sign=0.4 \
        diagnostics.every=1 diagnostics.noise_every=3 diagnostics.noise_batches=3 schedule.warmup_steps=0
    for threads in 1 2 3 7; do
        does 0 train "$@" run.dir="threads/$threads" train.threads=$threads train.batch_size=$((threads % 2 + 1)) \
            train.grad_accum=$((2 - threads % 2))
        diagnosis threads/1 >"$work/lines"
        diagnosis "threads/$threads" | cmp "$work/lines" -
    done
)

noise_is_drawn_by_seed_and_step_alone() (
    phis() { sed -nE 's/.*"grad_density":[^,]*,"noise_phi":([^,]*),"weight_norm.*"noise_batches.*/\1/p' "$1/diagnostics.jsonl"; }
    set -- optimizer.lr=0 diagnostics.noise_every=10 diagnostics.noise_batches=4
    does 0 train "$@" run.dir=phi/a
    does 0 train "$@" run.dir=phi/b optimizer.name=lion diagnostics.every=3
    does 0 train "$@" run.dir=phi/c train.seed=2
    is "$(phis phi/a | wc -l)" 3
    is "$(phis phi/a | sort -u | wc -l)" 3 # other batches at each step, for weights that stay
    is "$(phis phi/a)" "$(phis phi/b)"
    if [ "$(phis phi/a)" = "$(phis phi/c)" ]; then is "seed 2" "other noise"; fi
)

spikes_are_counted_and_survive_a_stop() (
    set -- optimizer.lr=5 train.grad_clip=0 train.steps=60 schedule.warmup_steps=40
    does 0 train "$@" run.dir=wild checkpoint.every=1 checkpoint.keep_last=99
    is "$(figures wild spikes | wc -l)" 60 # not before the first update
    count=$(value wild/summary.json spikes)
    is "$(figures wild spikes | tail -n 1)" "$count"
    less 0 "$count"
    first=$(grep -m 1 '"spikes":1' wild/metrics.jsonl | sed -E 's/.*"step":([0-9]*).*/\1/')
    for step in 3 "$first"; do
        as_of wild "$(printf %08d "$step")" "wild$step"
        does 0 train "$@" run.dir="wild$step"
        same_curves wild "wild$step"
    done
    is "$(figures adamw spikes | sort -u)" 0
)

# ---- checkpoints -------------------------------------------------------------------------------------------------

# same_end RUN RUN STEP: curves, samples, weights and state are the same bytes
same_end() {
    same_curves "$1" "$2"
    cmp "$1/samples.txt" "$2/samples.txt"
    if [ -e "$1/diagnostics.jsonl" ] && [ -e "$2/diagnostics.jsonl" ]; then
        diagnosis "$1" >"$work/lines"
        diagnosis "$2" | cmp "$work/lines" -
    fi
    for file in model optimizer; do
        cmp "$1/checkpoints/step_$3/$file.safetensors" "$2/checkpoints/step_$3/$file.safetensors"
    done
}

# as_of RUN STEP COPY: RUN as it was when it had saved STEP and no more, then killed
as_of() {
    cp -r "$1" "$3"
    rm -f "$3/summary.json"
    for saved in "$3"/checkpoints/step_*; do
        [ "${saved##*_}" -le "$2" ] || rm -r "$saved"
    done
}

last_step() { # RUN
    figures "$1" step | tail -n 1
}

every_optimizer_goes_on_from_every_step() (
    mkdir every
    for name in $("$bin/train_gpt" --list-optimizers | sed -nE 's/^([a-z_0-9]+) .*/\1/p'); do
        set -- optimizer.name="$name" train.steps=4 eval.every=2 log.every=3 train.grad_accum=2 diagnostics.every=2 \
            diagnostics.noise_every=3 diagnostics.noise_batches=2
        if "$bin/train_gpt" --describe "$name" | grep -q alpha_sign; then set -- "$@" optimizer.alpha_sign=0.5; fi
        does 0 train "$@" run.dir="every/$name" checkpoint.every=1 checkpoint.keep_last=9
        for step in 1 2 3; do
            as_of "every/$name" "0000000$step" "every/$name.$step"
            does 0 train "$@" run.dir="every/$name.$step" train.threads=$((step % 3 + 1)) train.resume=must
            has "$work/out" "continuing from every/$name.$step/checkpoints/step_0000000$step"
            same_end "every/$name" "every/$name.$step" 00000004
            [ -s "every/$name.$step/diagnostics.jsonl" ]
        done
    done
    [ -d every/softmuon.3 ]
)

a_run_that_is_stopped_and_killed_anywhere_ends_as_if_it_had_not_been() (
    sed 's/"adamw"/"softsignum", "alpha_sign": 0.5/' tiny.json >broken.json
    set -- train.steps=80 train.batch_size=3 train.grad_accum=3 log.every=7 eval.every=10 sample.every=15 \
        sample.tokens=200 eval.tokens=4096 checkpoint.every=9 diagnostics.every=6 diagnostics.noise_every=20 \
        diagnostics.noise_batches=5 log.tensorboard=true
    does 0 "$bin/train_gpt" broken.json run.dir=whole "$@"
    stops=0
    ended=1
    while [ "$ended" -ne 0 ]; do
        stops=$((stops + 1))
        [ "$stops" -lt 150 ] || is "the run" "at its end"
        signal=$([ $((stops % 3)) -eq 0 ] && echo KILL || echo TERM)
        "$bin/train_gpt" broken.json run.dir=broken "$@" >"$work/out" 2>"$work/err" &
        pid=$!
        ms=$((15 + stops * 37 % 40 + 12 * stops)) # longer and longer, so that a slow machine comes to the end too
        sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
        kill -s "$signal" $pid 2>/dev/null || true
        ended=0
        wait $pid || ended=$?
        case $ended in 0 | 75 | 137 | 143) ;; *) is "$ended" 75 ;; esac # 143: before it listens to signals
    done 2>/dev/null
    echo "$stops processes"
    less 2 "$stops"
    same_end whole broken 00000080
    events=events.out.tfevents.0.train_gpt # all that can differ are times, of fixed width: each step is there once
    is "$(wc -c <broken/$events)" "$(wc -c <whole/$events)"
)

a_damaged_checkpoint_is_told_and_the_one_before_used() (
    does 0 train run.dir=sound checkpoint.every=5 checkpoint.keep_last=9
    for damage in flip cut gone config manifest list; do
        as_of sound 00000015 "hurt_$damage"
        newest=hurt_$damage/checkpoints/step_00000015
        case $damage in
        flip) poke $newest/optimizer.safetensors 100000 '\001\002\003\004' ;;
        cut) truncate -s -1 $newest/model.safetensors ;;
        gone) rm $newest/optimizer.safetensors ;;
        config) truncate -s 0 $newest/config.json ;;
        manifest) sed -i 's/"data_cursor": 60/"data_cursor": 64/' $newest/manifest.json ;;
        list) rm $newest/manifest.json ;;
        esac
        does 0 train run.dir="hurt_$damage"
        says "warning: $newest"
        has "$work/out" "step_00000010"
        [ -d "$newest.damaged" ]
        same_end sound "hurt_$damage" 00000020
    done
)

without_a_checkpoint_that_is_whole_nothing_is_touched() (
    does 0 train run.dir=ruined
    rm ruined/summary.json
    truncate -s 100 ruined/checkpoints/step_*/model.safetensors
    cp -r ruined ruins
    does 4 train run.dir=ruined
    says "train.resume=never"
    diff -r ruins ruined
    does 0 train run.dir=ruined train.resume=never
    same_curves ruined adamw
    diff -r ruins ruined.1
)

settings_that_would_change_the_run_are_refused() (
    does 0 train run.dir=half checkpoint.every=5 checkpoint.keep_last=9
    as_of half 00000010 halved
    cp -r halved as_halved
    fails 2 "optimizer.lr 0.003, now 0.004. " train run.dir=halved optimizer.lr=0.004 train.seed=3 log.every=2 train.threads=1
    says "train.seed 1, now 3; " "train.resume=never"
    lacks "$work/err" "log.every|threads"
    fails 2 "train.steps 20, now 30" train run.dir=halved train.steps=30
    does 0 "$bin/prepare" text --out more --vocab-size 300 --val-frac 0.2
    cp -r data moved
    fails 3 "other data" train run.dir=halved data.dir=more
    diff -r as_halved halved
    does 0 train run.dir=halved log.every=20 eval.every=20 data.dir=moved checkpoint.keep_best=true
    is "$(tail -n 1 halved/metrics.jsonl | sed 's/,"time.*train/train/; s/,"tokens_per.*//')" \
        "$(tail -n 1 half/metrics.jsonl | sed 's/,"time.*train/train/; s/,"tokens_per.*//')"
)

resume_does_what_it_is_told() (
    fails 4 "train.resume=must" train run.dir=obeyed train.resume=must
    rm -rf obeyed
    does 0 train run.dir=obeyed
    fails 4 "no unfinished run" train run.dir=obeyed train.resume=must
    does 0 train run.dir=obeyed # it is finished
    has "$work/out" "obeyed.1"
    start long train.resume=never
    stop TERM
    is "$status" 75
    has long.err "the same command goes on"
    step=$(last_step long)
    start long # the same command
    for _ in $(seq 300); do
        [ "$(last_step long)" -le "$step" ] || break
        sleep 0.1
    done
    stop INT
    is "$status" 75
    has long.out "continuing from long/checkpoints/step_"
    less "$step" "$(last_step long)"
    has long/machine.json '"continued"'
    absent long.1
)

only_checkpoints_of_ours_are_removed_and_only_those() (
    does 0 train run.dir=tidy checkpoint.every=2 train.steps=9
    is "$(cd tidy/checkpoints && echo *)" "step_00000008 step_00000009"
    as_of tidy 00000008 tidier
    cd tidier/checkpoints
    cp -r step_00000008 step_00000001
    echo mine >step_00000001/notes.txt
    cp -r step_00000008 step_2
    cp -r step_00000008 "step_00000008 copy"
    mkdir step_00000003 step_00000009.tmp backup
    : >step_00000009.tmp/model.safetensors
    cd ../..
    does 0 train run.dir=tidier train.steps=9 checkpoint.keep_last=1
    is "$(cd tidier/checkpoints && printf '%s,' *)" "backup,step_00000001,step_00000008 copy,step_00000009,step_2,"
    does 0 train run.dir=listed train.steps=9 checkpoint.keep_last=1 checkpoint.keep_steps=7,2
    is "$(cd listed/checkpoints && printf '%s,' *)" "step_00000002,step_00000007,step_00000009,"
    # at this rate the loss falls, then rises
    does 0 train run.dir=best checkpoint.keep_best=true checkpoint.keep_every=6 checkpoint.keep_last=1 eval.every=2 \
        optimizer.lr=1 schedule.warmup_steps=15 schedule.name=constant
    best=$(value best/summary.json best_val_step)
    echo "the best of 20 steps is $best"
    less 0 "$best" && less "$best" 18 && less 0 "$best % 6"
    is "$(cd best/checkpoints && ls)" "$(printf 'step_%08d\n' 6 12 18 20 "$best" | sort -u)"
)

a_branch_at_the_switch_is_the_run_that_never_branched() (
    while read -r trunk method; do
        does 0 train optimizer.name="$trunk" run.dir="trunk/$trunk" checkpoint.every=10
        does 0 train optimizer.name="$method" optimizer.alpha_sign=0.5 run.dir="whole/$method"
        set -- optimizer.name="$method" optimizer.alpha_sign=0.5 train.init_from="trunk/$trunk/checkpoints/step_00000010"
        does 0 train "$@" run.dir="branch/$method" checkpoint.every=4 checkpoint.keep_last=9
        has "$work/out" "begins at step 10 of trunk/$trunk/checkpoints/step_00000010: $method goes on with its state"
        has "$work/out" "optimizer.name $trunk, now $method"
        sed -i 1,10d "whole/$method/metrics.jsonl"
        is "$(figures "branch/$method" val/loss)" "$(figures "whole/$method" val/loss)"
        is "$(figures "branch/$method" train/loss)" "$(figures "whole/$method" train/loss | tail -n 10)"
        is "$(figures "branch/$method" tokens)" "$(figures "whole/$method" tokens)"
        for file in model optimizer; do
            cmp "whole/$method/checkpoints/step_00000020/$file.safetensors" \
                "branch/$method/checkpoints/step_00000020/$file.safetensors"
        done
        as_of "branch/$method" 00000012 "branch/$method.again" # a branch goes on like any other run
        does 0 train "$@" run.dir="branch/$method.again"
        same_end "branch/$method" "branch/$method.again" 00000020
    done <<END
signum softsignum
signum hard_switch
muon softmuon
muon hard_switch_muon
END
)

weights_can_be_taken_alone() (
    does 0 train run.dir=giver checkpoint.every=10
    cp -r giver/checkpoints/step_00000010 foreign
    rm foreign/manifest.json foreign/optimizer.safetensors # as it would come from Hugging Face
    does 0 train run.dir=taker train.init_from=giver/checkpoints/step_00000010 train.init_take=weights
    does 0 train run.dir=taker2 train.init_from=foreign
    same_curves taker taker2
    is "$(figures taker val/loss | head -n 1)" "$(figures giver val/loss | sed -n 2p)"
    is "$(figures taker step | head -n 1)" 0
    does 0 train run.dir=fresh train.init_from=giver/checkpoints/step_00000010 optimizer.name=lion eval.every=0 log.every=20
    has "$work/out" "lion begins with none"
    is "$(figures fresh step | head -n 1)" 10
    is "$(figures fresh val/loss | head -n 1)" "$(figures giver val/loss | sed -n 2p)"
)

what_cannot_be_branched_from_is_refused() (
    does 0 train run.dir=stem
    from=train.init_from=stem/checkpoints/step_00000020
    fails 2 "n_embd 32" train run.dir=barren model.n_embd=64 "$from"
    fails 2 "is at step 20, this run ends at step 20" train run.dir=barren "$from"
    fails 2 "stem is a run; name one of its checkpoints" train run.dir=barren train.init_from=stem
    fails 4 "gone/config.json" train run.dir=barren train.init_from=gone
    does 0 "$bin/prepare" text --out others --vocab-size 300 --val-frac 0.2
    fails 3 "train.init_take=weights" train run.dir=barren "$from" train.steps=30 data.dir=others
    poke stem/checkpoints/step_00000020/model.safetensors 50000 '\001\002\003\004'
    fails 4 "damaged" train run.dir=barren "$from" train.steps=30
    absent barren/metrics.jsonl
)

a_run_without_checkpoints_leaves_none() (
    does 0 train run.dir=bare checkpoint.save=false
    absent bare/checkpoints
    same_curves bare adamw
)

# ---- what is wrong with the data ---------------------------------------------------------------------------------

missing_data_says_what_to_type() (
    fails 3 "nowhere: " train data.dir=nowhere run.dir=never
    says "make quickstart" "./prepare FILE... --out nowhere"
    mkdir hollow
    cp data/dataset.json hollow
    fails 3 "hollow: no train_*.bin" train data.dir=hollow run.dir=never
    ln -s "$root/configs" configs # where a study's base is
    for config in "$root"/configs/*.json; do
        case $config in
        */study_*) fails 3 "make quickstart" "$bin/study" "$config" --plan ;;
        *) fails 3 "make quickstart" "$bin/train_gpt" "$config" ;;
        esac
    done
    absent never nowhere runs
)

damaged_shards_are_refused() (
    for what in cut magic version count; do
        cp -r data "$what"
    done
    head -c 3000 data/train_000000.bin >cut/train_000000.bin
    poke magic/train_000000.bin 0 '\001'
    poke version/train_000000.bin 4 '\011'
    poke count/train_000000.bin 8 '\377\377\377\377'
    for what in cut magic version count; do
        fails 3 "$what/train_000000.bin: " train data.dir="$what" run.dir=never
    done
    head -c 100 data/val_000000.bin >cut/val_000000.bin
    cp data/train_000000.bin cut
    fails 3 "cut/val_000000.bin: " train data.dir=cut run.dir=never
    absent never
)

an_id_beyond_the_vocabulary_is_refused() (
    cp -r data beyond
    poke beyond/val_000000.bin 1034 '\054\001' # token 5 becomes id 300, the first that does not exist
    fails 3 "beyond/val_000000.bin: token 5 is id 300" train data.dir=beyond run.dir=beyond_run
    is "$(value beyond_run/summary.json outcome)" failed
)

a_vocabulary_that_ids_cannot_hold_is_refused() (
    cp -r data wide
    sed 's/"vocab_size":[^,]*/"vocab_size": 70000/' data/dataset.json >wide/dataset.json
    fails 3 "70000" train data.dir=wide run.dir=never
    fails 2 "model.vocab_size: 70000" train model.vocab_size=70000 run.dir=never
    absent never
)

a_damaged_dataset_json_is_refused() (
    cp -r data torn
    head -c 40 data/dataset.json >torn/dataset.json
    fails 3 "torn/dataset.json: " train data.dir=torn run.dir=never
    absent never
)

a_corpus_too_small_for_one_batch_is_refused() (
    fails 3 "train.batch_size" train train.batch_size=400 run.dir=never
    says "400" "data: "
    fails 3 "model.block_size" train model.block_size=20000 run.dir=never
    absent never
)

samples_need_the_tokenizer() (
    cp -r data mute
    rm mute/tokenizer.json
    fails 3 "mute/tokenizer.json" train data.dir=mute sample.every=10 run.dir=never
    absent never
    does 0 train data.dir=mute run.dir=muted
)

# ---- what is wrong with the command line or the config -------------------------------------------------------------

all_problems_of_a_config_are_told_at_once() (
    cat >faults.json <<END
{"model": {"n_layer": 0, "n_head": "two", "n_embed": 32}, "trian": {"steps": 5},
 "train": {"steps": 1.5}, "optimizer": {"name": "softmuon", "alpha_sgn": 0.5}}
END
    does 2 "$bin/train_gpt" faults.json run.dir=never optimizer.lr=1e999
    says "faults.json: " "model.n_layer: 0" "[1,1024]" "model.n_head: " "model.n_embed: " '"n_embd"' "trian: " \
        '"train"' "train.steps: 1.5" "optimizer.alpha_sgn: " '"alpha_sign"' "optimizer.lr: "
    absent never
)

broken_json_is_refused_with_its_place() (
    echo '{"train": {"steps": 5}} extra' >trailing.json
    echo '{"train": {"steps": 5, "steps": 6}}' >twice.json
    echo '{"train": {"steps": 5,}}' >comma.json
    : >nothing.json
    for what in trailing twice comma nothing; do
        does 2 "$bin/train_gpt" $what.json run.dir=never
        says "error: " "$what.json"
    done
    fails 2 "gone.json: " "$bin/train_gpt" gone.json
    absent never runs
)

a_wrong_word_on_the_command_line_is_refused() (
    fails 2 "unknown option --dryrun" train --dryrun run.dir=never
    fails 2 "train.stesp" train train.stesp=3 run.dir=never
    says '"steps"'
    fails 2 "section.key=value" train fast run.dir=never
    fails 2 "optimizer.name" train optimizer.name=sofmuon run.dir=never
    says '"softmuon"'
    does 2 "$bin/train_gpt"
    says "usage: train_gpt"
    absent never
)

a_run_folder_that_cannot_be_written_is_refused() (
    fails 1 "tiny.json/x" train run.dir=tiny.json/x
    fails 1 "tiny.json: " train run.dir=tiny.json
    fails 1 "/proc/never" train run.dir=/proc/never/x
    has tiny.json n_layer
)

the_plan_of_memory_is_within_5_percent_of_the_peak() (
    ldd "$bin/train_gpt" | grep -q libasan && return 0 # which takes as much again
    for words in "optimizer.name=adamw train.batch_size=24" "optimizer.name=softmuon optimizer.alpha_sign=0.5 model.n_embd=256" \
        "optimizer.name=soap model.n_embd=192 train.grad_accum=2" "optimizer.name=sf_adamw model.n_layer=12" \
        "optimizer.name=muon diagnostics.every=1" \
        "optimizer.name=signum model.n_embd=256 diagnostics.noise_every=1 diagnostics.noise_batches=2"; do
        # shellcheck disable=SC2086
        set -- model.n_embd=128 model.n_head=2 model.n_layer=6 model.block_size=32 train.steps=2 schedule.warmup_steps=0 \
            train.batch_size=8 checkpoint.every=1 sample.every=1 $words
        does 0 train "$@" --dry-run
        planned=$(sed -nE 's/^memory +([0-9.]+) MB.*/\1/p' "$work/out")
        does 0 train "$@" run.dir="memory/${words%% *}"
        peak=$(value "memory/${words%% *}/summary.json" peak_memory_bytes)
        awk -v planned="$planned" -v peak="$peak" -v words="$words" 'BEGIN {
            ratio = planned * 1e6 / peak
            print words ": planned " planned " MB, peak " peak / 1e6 " MB"
            exit !(ratio > 0.95 && ratio < 1.05) }'
    done
)

a_model_larger_than_memory_is_refused_before_work() (
    fails 1 "memory" train model.n_embd=16384 model.n_layer=100 run.dir=never
    absent never
)

a_model_larger_than_its_control_group_is_refused_before_work() (
    unshare -rm mount -t tmpfs none /sys/fs/cgroup 2>/dev/null || return 0 # nothing can be mounted here
    limited() { # FOLDER LIMIT_FILE USED_FILE: training where this group has two megabytes left
        # shellcheck disable=SC2016
        fails 1 "GB of memory, 0.0 GB are free" unshare -rm sh -ec 'mount -t tmpfs none /sys/fs/cgroup
            mkdir -p "/sys/fs/cgroup/$1"
            echo 9000000000 >"/sys/fs/cgroup/$1/$2"
            echo 8999000000 >"/sys/fs/cgroup/$1/$3"
            echo "${4}inactive_file 1000000" >"/sys/fs/cgroup/$1/memory.stat"
            shift 4
            exec "$@"' sh "$@" "$bin/train_gpt" "$work/tiny.json" run.dir=never
    }
    group=$(sed -n 's/^[0-9]*:[^:]*memory[^:]*:/memory/p' /proc/self/cgroup)
    [ -z "$group" ] || limited "$group" memory.limit_in_bytes memory.usage_in_bytes total_
    [ -z "$group" ] || limited "${group%/*}" memory.limit_in_bytes memory.usage_in_bytes total_ # the one above
    group=$(sed -n 's/^0:://p' /proc/self/cgroup)
    [ -z "$group" ] || limited "$group" memory.max memory.current ""
    absent never
)

# ---- help ----------------------------------------------------------------------------------------------------------

every_program_explains_itself() (
    for program in train_gpt prepare compare gpt2_check; do
        does 0 "$bin/$program" --help
        has "$work/out" "usage: $program"
        is "$(wc -c <"$work/err")" 0
        awk -v name=$program 'length($0) > 110 { print name ": too wide: " $0; exit 1 }' "$work/out"
    done
    does 0 train --help
    for words in train.grad_clip optimizer.lr --dry-run --describe; do has "$work/out" $words; done
)

output_that_cannot_be_written_is_an_error() (
    golden=$root/test/golden/gpt2/tiny
    fails 1 "stdout" full "$bin/train_gpt" --help
    fails 1 "stdout" full "$bin/prepare" --help
    fails 1 "stdout" full "$bin/compare" adamw
    fails 1 "stdout" full "$bin/gpt2_check" "$golden" "$golden/expected.safetensors"
)

describe_tells_the_equation_and_the_settings() (
    does 0 "$bin/train_gpt" --describe softmuon
    for words in 2605.31371 alpha_sign optimizer.lr=; do has "$work/out" $words; done
    fails 2 'did you mean "softmuon"' "$bin/train_gpt" --describe sofmuon
    fails 2 "list-optimizers" "$bin/train_gpt" --describe
)

dry_run_prints_the_plan_and_writes_nothing() (
    mkdir empty
    cd empty
    does 0 train --dry-run
    for words in matrix embedding vector memory FLOPs "tokens/s" 2.56k; do has "$work/out" "$words"; done
    is "$(ls -A)" ""
)

docs_are_what_the_program_says() (
    [ -e "$root/docs" ] || return 0
    "$bin/train_gpt" --docs-config | diff "$root/docs/config.md" -
    "$bin/train_gpt" --docs-optimizers | diff "$root/docs/optimizers.md" -
)

every_config_of_the_project_is_valid() (
    for config in "$root"/configs/*.json; do
        case $config in */study_*) continue ;; esac # see missing_data_says_what_to_type
        does 0 "$bin/train_gpt" "$config" data.dir=data --dry-run model.n_layer=1 \
            model.n_embd=32 model.n_head=2 model.block_size=32
    done
)

# ---- gpt2_check and compare ----------------------------------------------------------------------------------------

gpt2_check_accepts_weights_of_hugging_face() (
    for model in tiny odd; do
        golden=$root/test/golden/gpt2/$model
        does 0 "$bin/gpt2_check" "$golden" "$golden/expected.safetensors"
        has "$work/out" "all within tolerance"
    done
)

gpt2_check_refuses_weights_that_are_wrong() (
    golden=$root/test/golden/gpt2/tiny
    cp -r "$golden" other
    size=$(wc -c <"$golden/model.safetensors")
    poke other/model.safetensors $((size / 2)) '\102\377\102\377\102\377\102\377' # still numbers, but others
    does 4 "$bin/gpt2_check" other "$golden/expected.safetensors"
    has "$work/out" "TOO LARGE"
    head -c 5000 "$golden/model.safetensors" >other/model.safetensors
    fails 4 "other/model.safetensors" "$bin/gpt2_check" other "$golden/expected.safetensors"
    fails 4 "gone/config.json" "$bin/gpt2_check" gone "$golden/expected.safetensors"
)

# recorded FILE METADATA [BYTES]: an input of optim_replay: w = (1, -2), the gradients (1, 0) and (3, 4) of two steps;
# BYTES stand in place of the last one
recorded() {
    header="{$2\"param.w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
    header="$header\"grad.1.w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
    header="$header\"grad.2.w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[16,24]}}"
    {
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $((${#header} % 256)))\\$(printf %03o $((${#header} / 256)))\\0\\0\\0\\0\\0\\0"
        printf '%s' "$header"
        printf '\000\000\200\077\000\000\000\300\000\000\200\077\000\000\000\000'
        # shellcheck disable=SC2059
        printf "${3:-\\000\\000\\100\\100\\000\\000\\200\\100}"
    } >"$1"
}

replay() { # OUT [OVERRIDE...]
    "$bin/optim_replay" sgd.json in.safetensors "$@"
}

# The last COUNT numbers of a file
floats() { # FILE COUNT
    tail -c $((4 * $2)) "$1" | od -An -t f4 | xargs
}

sgd_to_replay() {
    cat >sgd.json <<END
{"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0}, "schedule": {"name": "constant"}, "train": {"steps": 2}}
END
    recorded in.safetensors '"__metadata__":{"keep":"1"},'
}

optim_replay_writes_the_weights_after_the_steps() (
    sgd_to_replay
    does 0 replay out.safetensors train.grad_clip=0
    is "$(floats out.safetensors 4)" "0.5 -2 -1 -4"
    has out.safetensors '"param.1.w":{"dtype":"F32","shape":[1,2]'
    has out.safetensors '"param.2.w"'
    has "$work/out" "2 steps of SGD; gradients as they are"
    does 0 replay clipped.safetensors train.grad_clip=2.5
    is "$(floats clipped.safetensors 2)" "-0.25 -3"
    has "$work/out" "gradients of 1 clipped to norm 2.5 (train.grad_clip)"
    does 0 "$bin/optim_replay" --help
    has "$work/out" "usage: optim_replay CONFIG.json IN.safetensors OUT.safetensors"
)

optim_replay_refuses_what_it_cannot_replay() (
    sgd_to_replay
    fails 2 "2 steps, train.steps is 3" replay never train.steps=3
    fails 2 "optimizer.speed" replay never optimizer.speed=1
    fails 2 "in.safetensors is both input and output" replay in.safetensors
    fails 2 "--fast" replay never --fast
    fails 2 "what to replay?" "$bin/optim_replay" sgd.json in.safetensors
    fails 2 "gone.json" "$bin/optim_replay" gone.json in.safetensors never
    fails 4 "gone.safetensors" "$bin/optim_replay" sgd.json gone.safetensors never
    fails 4 "not a safetensors file" "$bin/optim_replay" sgd.json sgd.json never
    fails 1 "nowhere/out" replay nowhere/out
    fails 1 "not a regular file" replay /dev/null
    recorded in.safetensors '"__metadata__":{"role.w":"matirx"},'
    fails 4 '"matirx" is no role' replay never
    recorded in.safetensors '' '\000\000\000\100\000\000\200\177'
    fails 6 "grad.2.w: element 1 is not finite" replay never
    absent never never.tmp
)

toy_runs_any_optimizer_and_compare_reads_it() (
    cd "$root"
    does 0 "$bin/toy" deterministic softsignum lr=0.01 train.steps=600 "run.dir=$work/toy"
    has "$work/out" "SoftSignum, lr 0.01, weight_decay 0"
    does 0 "$bin/compare" "$work/toy"
    has "$work/out" "@600"
    does 6 "$bin/toy" stochastic sgd lr=100 train.steps=600 "run.dir=$work/toy"
    says "not finite after step" "try a lower lr"
    has "$work/out" "An earlier one there is now $work/toy.1"
    fails 2 'did you mean "stochastic"?' "$bin/toy" stocastic sgd
    fails 2 'did you mean "signsgd"?' "$bin/toy" stochastic signsdg
    fails 2 "which optimizer?" "$bin/toy" stochastic
    fails 2 "--fast" "$bin/toy" --fast
)

compare_shows_every_run_and_no_escapes_in_a_pipe() (
    does 0 train optimizer.name=sgd run.dir=compared/slow
    does 0 "$bin/compare" adamw compared/slow
    for words in adamw slow "final val" perplexity "optimizer.name"; do has "$work/out" "$words"; done
    has "$work/out" "* a adamw"
    lacks "$work/out" "$(printf '\033')"
    is "$(wc -c <"$work/err")" 0
)

compare_refuses_what_is_no_run() (
    fails 3 "text: not a run" "$bin/compare" adamw text
    fails 3 "gone: " "$bin/compare" gone
    fails 2 "no run" "$bin/compare"
    fails 2 "--fast" "$bin/compare" --fast adamw
    fails 2 "--html" "$bin/compare" adamw --html
    fails 1 "nowhere/r.html" "$bin/compare" adamw --html nowhere/r.html
    fails 2 "goes with a study" "$bin/compare" --baseline adamw adamw
    fails 2 "--csv" "$bin/compare" --csv --train adamw
)

a_study_of_two() { # two seeds of one method, one of another, all with the same metrics but for what the index says
    mkdir -p two/runs
    for run in 1 2 3; do cp -r adamw two/runs/$run; done
    printf '{"name":"two","baseline":"a","state":"done","methods":[%s,%s],"runs":[%s,%s,%s]}\n' \
        '{"name":"a","optimizer":"adamw","trunk":null,"settings":{"optimizer.lr":0.1},"edge":null}' \
        '{"name":"b","optimizer":"adamw","trunk":null,"settings":{"optimizer.lr":0.1},"edge":null}' \
        "$(a_run 1 a 1 3.5)" "$(a_run 2 a 2 3.25)" "$(a_run 3 b 2 3)" >two/index.json
}

a_run() { # DIR METHOD SEED LOSS
    printf '{"dir":"runs/%s","method":"%s","phase":"final","settings":{"optimizer.lr":0.1},"seed":%s,' "$1" "$2" "$3"
    printf '"trunk":null,"branch_step":null,"state":"done","loss":%s}' "$4"
}

compare_reads_a_study() (
    a_study_of_two
    does 0 "$bin/compare" two
    for words in "study two: 2 methods, 3 runs (3 done)" "-0.25000" "no verdict: fewer than two pairs" \
        "mean validation loss by step"; do has "$work/out" "$words"; done
    does 0 "$bin/compare" two --baseline b --target 9 --x tokens
    has "$work/out" "+0.25000"
    does 0 "$bin/compare" two --html two.html
    has two.html "</html>"
    fails 2 "c is none of the study's methods" "$bin/compare" two --baseline c
    fails 2 "one study at a time" "$bin/compare" two adamw
    echo '{}' >two/index.json
    fails 3 "index.json" "$bin/compare" two
)

compare_writes_csv() (
    a_study_of_two
    lines=$(wc -l <adamw/metrics.jsonl)
    does 0 "$bin/compare" --csv two adamw
    is "$(wc -l <"$work/out")" $((4 * lines + 1))
    is "$(sed -n '1s/,time_s.*//p' "$work/out")" run,method,seed,phase,settings,step,tokens
    is "$(sed -n "$((3 * lines + 1))s/,[0-9].*//p" "$work/out")" two/runs/3,b
    is "$(grep -c '^adamw,adamw,' "$work/out")" "$lines"
    fails 3 "gone" "$bin/compare" --csv adamw gone
    fails 1 "stdout" full "$bin/compare" --csv adamw
)

# ---- study ---------------------------------------------------------------------------------------------------------

# describe NAME RUNS_AT_A_TIME: NAME.json: a grid that grows at its low edge, branches off a trunk, a run that diverges
describe() {
    cat >"$1.json" <<END
{
    "base": "$work/tiny.json", "dir": "$work/studies/$1", "side_by_side": $2, "seeds": [1, 2],
    "methods": {
        "adamw": {"set": {"checkpoint.every": 3}, "grid": {"optimizer.lr": [0.03, 0.1]}, "extend": 1},
        "hard": {"set": {"optimizer.name": "signum", "optimizer.lr": 0.004, "checkpoint.every": 3}},
        "soft": {"trunk": "hard", "set": {"optimizer.name": "softsignum"},
            "grid": {"optimizer.alpha_sign": [0.25, 0.5]}, "final": "all", "extend": 0},
        "tenfold": {"like": "adamw", "scale": {"optimizer.lr": 1e6}}
    }
}
END
}

study() {
    "$bin/study" "$@"
}

# studied NAME: each of its runs' curves, without what a clock measured
studied() {
    (cd "studies/$1/runs" && find . -name metrics.jsonl | grep -v '/seed=[0-9]*\.' | sort | while read -r file; do
        echo "$file"
        curves "$(dirname "$file")"
    done)
}

# children NAME: processes that train for this study
children() {
    grep -sl "$work/studies/$1/[c]onfigs/" /proc/[0-9]*/cmdline | cut -d / -f 3
}

# begin NAME: the study in the background, as $pid; returns when it trains
begin() {
    pid=
    trap '[ -z "$pid" ] || kill -KILL "$pid"' EXIT
    "$bin/study" "$1.json" >"$1.out" 2>"$1.err" &
    pid=$!
    for _ in $(seq 300); do
        [ -z "$(children "$1")" ] || return 0
        kill -0 "$pid" || return 0
        sleep 0.02
    done
}

a_study_trains_what_it_describes() (
    describe whole 2
    does 0 study whole.json
    has "$work/out" "adamw                lr=0.03"
    has "$work/out" "tenfold              lr=30000"
    has "$work/out" "  2 diverged"
    has "$work/out" "soft                 alpha_sign=0.5"
    index=studies/whole/index.json
    has $index '"state": "done"'
    has $index '"dir":"runs/soft/optimizer.alpha_sign=0.25/seed=2","method":"soft","phase":"final"'
    has $index '"trunk":"runs/hard/seed=2","branch_step":5,'
    is "$(grep -c '"seed":1,' $index),$(grep -c '"seed":2,' $index)" 7,5
    is "$(grep -c '"phase":"tune"' $index)" 2
    # a branch has the bits of the run that never branched
    does 0 train train.seed=2 optimizer.name=softsignum optimizer.lr=0.004 optimizer.alpha_sign=0.5 run.dir=alone
    is "$(value studies/whole/runs/soft/optimizer.alpha_sign=0.5/seed=2/summary.json final_val_loss)" \
        "$(value alone/summary.json final_val_loss)"
    is "$(find studies -name 'step_*')" ""
    studied whole >before
    does 0 study whole.json
    lacks "$work/out" "seed="
    studied whole | cmp - before
    does 0 "$bin/compare" studies/whole
)

a_study_killed_at_any_time_comes_to_the_same_bits() (
    describe whole 2
    [ -e studies/whole/index.json ] || does 0 study whole.json
    studied whole >before
    describe killed 3
    for round in $(seq 40); do # until one has gone on from a checkpoint, on a busy machine, too
        begin killed
        sleep "0.$(printf %02d $((2 * round)))"
        if [ $((round % 3)) -ne 0 ]; then
            stop_or_over KILL
        else # a child alone: told, and what it had trained stays
            kill -s KILL "$(children killed | head -n 1)" || : # between two
            stop_or_over CONT
            [ "$status" -ne 1 ] || has killed.err "was killed (Killed), perhaps for lack of memory; its log: $work/studies/killed/logs/"
        fi
        ! grep -qF '"state": "done"' studies/killed/index.json || break
        [ "$round" -lt 6 ] || ! grep -rqF "continuing from" studies/killed/logs || break
    done
    does 0 study killed.json
    studied killed | cmp - before
    sed 's/"name": "killed"/"name": "whole"/' studies/killed/index.json | cmp - studies/whole/index.json
)

a_study_stops_at_a_signal_and_keeps_others_out() (
    describe long 2
    sed -i 's/"like": "adamw"/"set": {"train.steps": 1000000}/; s/"scale": [^}]*}/"extend": 0/' long.json
    sed -i 's/"set": {"checkpoint.every": 3}/"set": {"train.steps": 1000000}/' long.json
    begin long
    fails 7 "another process works on this study" study long.json
    stop TERM
    is "$status" 75
    has long.err "the same command goes on with it"
    is "$(children long)" ""
    has studies/long/index.json '"state": "running"'
    begin long
    for _ in $(seq 300); do
        ! grep -rqF "continuing from" studies/long/logs || break
        sleep 0.02
    done
    stop INT
    is "$status" 75
    grep -rqF "continuing from" studies/long/logs
    begin long # runs without an end, which end with it
    stop KILL
    for _ in $(seq 300); do
        [ -n "$(children long)" ] || break
        sleep 0.02
    done
    left=$(children long)
    # shellcheck disable=SC2086
    [ -z "$left" ] || kill -s KILL $left
    is "$left" ""
)

a_changed_study_trains_only_what_has_changed() (
    describe other 2
    sed -i 's/"softsignum"}/"softsignum", "optimizer.weight_decay": 0}/' other.json
    does 0 study other.json
    # what a method is scaled by is in its runs' names; what its trunk was set to is not
    sed -i 's/1e6/2/; s/\[0.25, 0.5\]/[0.25, 0.5, 0.75]/' other.json
    does 0 study other.json
    is "$(grep -o '^[a-z]*/.*seed=[0-9]' "$work/out" | sort | tr '\n' ' ')" \
        "hard/seed=1 hard/seed=2 soft/optimizer.alpha_sign=0.75/seed=1 soft/optimizer.alpha_sign=0.75/seed=2 tenfold/optimizer.lr=0.06/seed=1 tenfold/optimizer.lr=0.06/seed=2 "
    [ -e studies/other/runs/hard/seed=1.1 ]
    # branches of another trunk are other runs, even where their own settings stay
    sed -i 's/0.004/0.004, "optimizer.weight_decay": 0.3/; s/"seeds": \[1, 2\]/"seeds": [1]/' other.json
    does 0 study other.json
    is "$(grep -o '^[a-z]*/.*seed=[0-9]' "$work/out" | sort | tr '\n' ' ')" \
        "hard/seed=1 soft/optimizer.alpha_sign=0.25/seed=1 soft/optimizer.alpha_sign=0.5/seed=1 soft/optimizer.alpha_sign=0.75/seed=1 "
    does 0 train optimizer.name=signum optimizer.lr=0.004 optimizer.weight_decay=0.3 checkpoint.keep_steps=15 run.dir=trunk
    does 0 train optimizer.name=softsignum optimizer.lr=0.004 optimizer.weight_decay=0 optimizer.alpha_sign=0.75 \
        train.init_from=trunk/checkpoints/step_00000015 run.dir=changed
    is "$(value studies/other/runs/soft/optimizer.alpha_sign=0.75/seed=1/summary.json final_val_loss)" \
        "$(value changed/summary.json final_val_loss)"
    sed -i 's/"seeds"/"checkpoints": "final", "seeds"/; s/0.004/0.002/' other.json
    does 0 study other.json
    is "$(cd studies/other/runs && find hard/seed=1 soft -name 'step_*' | grep -v '=1\.' | sort | tr '\n' ' ')" \
        "$(for run in hard soft/optimizer.alpha_sign=0.25 soft/optimizer.alpha_sign=0.5 soft/optimizer.alpha_sign=0.75; do
            printf '%s/seed=1/checkpoints/step_00000020 ' $run; done)"
)

a_study_stops_at_a_run_that_fails() (
    describe broken 1
    mkdir -p studies/broken/runs
    : >studies/broken/runs/hard
    does 1 study broken.json
    says "error: runs/hard/seed=1 failed with exit status 1; its log: $work/studies/broken/logs/hard/seed=1.log"
    has studies/broken/logs/hard/seed=1.log "studies/broken/runs/hard"
    has studies/broken/index.json '"state":"failed"'
    rm studies/broken/runs/hard
    does 0 study broken.json
)

a_study_is_planned_without_a_trace() (
    describe planned 0
    does 0 study planned.json --plan
    for words in "measured: 1 run, " "adamw " "off hard" "runs         at least 11, 0 of them ended" "compute      " \
        "FLOPs" "memory       " "time         at least "; do has "$work/out" "$words"; done
    absent studies/planned
    sed -i 's/"seeds"/"seed"/; s/"trunk": "hard"/"trunk": "hrad"/' planned.json
    does 2 study planned.json
    says "planned.json: 3 problems" "seed: unknown key; did you mean \"seeds\"?" \
        "\"hrad\" is no method that is written above this one; did you mean \"hard\"?"
    absent studies/planned
    does 2 study
    does 2 study --plann planned.json
    does 0 study --help
    fails 2 "gone.json" study gone.json
    fails 1 "stdout" full study --keys
)

# ---- scripts -------------------------------------------------------------------------------------------------------

without_apt_the_scripts_say_what_to_install() (
    mkdir few
    for tool in sh env dirname awk tr cat sed id; do ln -s "$(command -v $tool)" few/$tool; done
    for name in deps quickstart; do
        does 1 env PATH="$work/few" "$root/scripts/$name.sh"
        has "$work/out" "libpcre2-dev"
        says "error: no apt-get here" "libcjson" "gcc"
    done
)

# ---- all of them, or those named -----------------------------------------------------------------------------------

failed=0
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(sed -nE 's/^([a-z_0-9]+)\(\) \($/\1/p' "$script")
for name in "$@"; do
    (set -e; "$name") >"$work/log" 2>&1
    status=$?
    if [ "$status" -eq 0 ]; then
        echo "ok $name"
    else
        echo "not ok $name"
        sed 's/^/    /' "$work/log"
        failed=$((failed + 1))
    fi
done
[ "$failed" -eq 0 ]
