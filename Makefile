# train_gpt. `make help` lists the targets.
#
# Each variant is built in a folder of its own, build/<BUILD>:   make BUILD=asan test
# Whole commands are shown with V=1.
CC      = gcc
BUILD   = release
ARCH    = native
OUT     = build/$(BUILD)

WARN    = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unknown-pragmas
# No -ffast-math: NaN checks and the order of sums stay. Only what kernels need: no errno, no FP traps.
FP      = -fno-math-errno -fno-trapping-math -ffp-contract=fast
MODE_release = -O3 -march=$(ARCH) -g
MODE_asan    = -O1 -march=$(ARCH) -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
MODE_fuzz    = $(MODE_asan) -fsanitize=fuzzer-no-link -Wno-pass-failed
MODE_tsan    = -O2 -march=$(ARCH) -g -fsanitize=thread -Wno-pass-failed
MODE_valgrind = -O3 -march=x86-64-v3 -g
MODE_coverage = -O0 -march=$(ARCH) -g --coverage
MODE    = $(or $(MODE_$(BUILD)),$(MODE_release))
CFLAGS  = -std=gnu11 $(MODE) $(FP) $(WARN) $(WERROR)
CFLAGS_ALL = $(CFLAGS) -fopenmp -I. -D_GNU_SOURCE $(PKG_CFLAGS)
LIBS    = $(PKG_LIBS) -lm

# ---- libraries, all found by pkg-config; make deps installs them -------------------------------------------------
PKGS    = libcjson libpcre2-8 lapacke libxxhash zlib
NO_LIBS = help deps clean quickstart corpus
ifneq ($(filter-out $(NO_LIBS),$(or $(MAKECMDGOALS),all)),)
MISSING := $(shell for p in $(PKGS) cmocka; do pkg-config --exists $$p 2>/dev/null || echo $$p; done)
ifneq ($(MISSING),)
$(error pkg-config does not find: $(MISSING). Type `make deps` to install what is missing)
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS))
endif

say     = $(if $(V),,@echo "  $(1)	$@";)

# ---- programs ------------------------------------------------------------------------------------------------
PROGRAMS = train_gpt prepare compare gpt2_check extract_rdb optim_replay toy study
BINARIES = $(PROGRAMS:%=$(OUT)/bin/%) $(OUT)/bin/bench $(OUT)/bin/bench_optim $(OUT)/bin/bench_checkpoint
MAINS    = train_gpt.c data/prepare.c scripts/compare.c scripts/gpt2_check.c scripts/extract_rdb.c \
           scripts/optim_replay.c scripts/toy.c scripts/study.c scripts/bench.c scripts/bench_optim.c \
           scripts/bench_checkpoint.c
LIB_OBJ  = $(patsubst %.c,$(OUT)/%.o,$(filter-out $(MAINS),$(wildcard core/*.c model/*.c optim/*.c data/*.c train/*.c)))
LIB      = $(OUT)/libtrain_gpt.a
TESTS    = $(patsubst test/%.c,$(OUT)/bin/%,$(wildcard test/test_*.c))
FUZZERS  = $(patsubst test/fuzz/%.c,$(OUT)/bin/%,$(wildcard test/fuzz/fuzz_*.c))
FAULTS   = $(patsubst test/faults/%.c,$(OUT)/bin/%,$(wildcard test/faults/fault_*.c))
REPLAYS  = $(FUZZERS:$(OUT)/bin/%=$(OUT)/bin/test_%)

all: $(PROGRAMS) ## build the programs (the default)

$(PROGRAMS): %: $(OUT)/bin/%
	@ln -sf $< $@
build-all: $(BINARIES) $(TESTS) $(REPLAYS)
.PHONY: all build-all $(PROGRAMS)

$(OUT)/bin/train_gpt:   $(OUT)/train_gpt.o
$(OUT)/bin/prepare:     $(OUT)/data/prepare.o
$(OUT)/bin/compare:     $(OUT)/scripts/compare.o
$(OUT)/bin/gpt2_check:  $(OUT)/scripts/gpt2_check.o
$(OUT)/bin/extract_rdb: $(OUT)/scripts/extract_rdb.o
$(OUT)/bin/optim_replay: $(OUT)/scripts/optim_replay.o
$(OUT)/bin/toy:         $(OUT)/scripts/toy.o
$(OUT)/bin/study:       $(OUT)/scripts/study.o
$(OUT)/bin/bench:       $(OUT)/scripts/bench.o
$(OUT)/bin/bench_optim: $(OUT)/scripts/bench_optim.o
$(OUT)/bin/bench_checkpoint: $(OUT)/scripts/bench_checkpoint.o
$(TESTS): $(OUT)/bin/%: $(OUT)/test/%.o
$(TESTS): LIBS += $(shell pkg-config --libs cmocka)
$(REPLAYS): $(OUT)/bin/test_%: $(OUT)/test/fuzz/%.o $(OUT)/test/fuzz/replay.o
$(FUZZERS): $(OUT)/bin/%: $(OUT)/test/fuzz/%.o
$(FUZZERS): LINK_FLAGS = -fsanitize=fuzzer
$(OUT)/bin/fuzz_checkpoint $(OUT)/bin/test_fuzz_checkpoint: LINK_FLAGS += -Wl,--wrap=hash_bytes

$(FAULTS): $(OUT)/bin/%: $(OUT)/test/faults/%.o $(OUT)/test/faults/world.o

# Programs appear whole and are never taken away, whatever becomes of a second make in the same tree: linkers remove what
# they failed to write, and make what it was about to make when it was interrupted.
half    = $(@D)/.$(@F).$$$$
LINKED  = $(BINARIES) $(TESTS) $(REPLAYS) $(FUZZERS) $(FAULTS)
.PRECIOUS: $(LINKED) $(LIB) $(OUT)/bin/faults.so

$(LINKED): $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(MODE) $(LINK_FLAGS) -fopenmp $(filter %.o,$^) $(LIB) $(LIBS) -o $(half) && mv $(half) $@

$(LIB): $(LIB_OBJ)
	$(call say,AR) ar rcs $(half) $^ && mv $(half) $@

$(OUT)/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# The run log records flags and commit; `stamp` files change only when what they hold does.
$(OUT)/train/runlog.o $(OUT)/scripts/bench.o: $(OUT)/commit
$(OUT)/train/report_page.o: $(wildcard report/*)
$(OUT)/scripts/bench.o: CFLAGS += -DTRAIN_GPT_COMMIT='"$(COMMIT)"'
$(OUT)/train/runlog.o: CFLAGS += -DTRAIN_GPT_CFLAGS='"$(strip $(MODE) $(FP))"' -DTRAIN_GPT_COMMIT='"$(COMMIT)"'
COMMIT = $(shell git describe --always --dirty --abbrev=12 2>/dev/null)

stamp = @mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' > $@
$(OUT)/flags: FORCE
	$(call stamp,$(shell $(CC) -dumpfullversion -dumpversion) $(CC) $(CFLAGS))
$(OUT)/commit: FORCE
	$(call stamp,$(COMMIT))
FORCE:
.PHONY: FORCE
.SECONDARY:

# ---- using it ------------------------------------------------------------------------------------------------
deps: ## install what is missing from Debian (asks apt-get; says what and why)
	@scripts/deps.sh

quickstart: ## from nothing to a comparison: install, build, corpus, tokenizer, three runs, table and chart
	@scripts/quickstart.sh

# ---- proving it ----------------------------------------------------------------------------------------------
test: build-all ## prove the program; ends with "N passed, N failed"
	@test/run.sh $(OUT)/bin

FUZZ_S  = 60
fuzz: ## let libFuzzer look for files that break their readers (FUZZ_S=600: seconds a target)
	@$(MAKE) -s CC=clang BUILD=fuzz fuzzers
	@test/fuzz.sh build/fuzz/bin $(FUZZ_S) $(FUZZ)
fuzzers: $(FUZZERS)

deep: fuzz ## the proofs that take minutes: fuzzing, data races, memory errors, coverage
	@test/deep.sh
races memory coverage: ## one of them: ThreadSanitizer over training; valgrind; gcov of what reads configs and files
	@test/deep.sh $@

FAULT_TIER = 1
faults: ## let every call fail, kill a run a thousand times: nothing may be lost (faults-long: ten thousand times)
	@$(MAKE) -s fault-programs
	@$(MAKE) -s BUILD=asan fault-programs
	@test/faults.sh $(FAULT_TIER)
faults-long: FAULT_TIER = 10
faults-long: faults
fault-programs: $(FAULTS) $(OUT)/bin/faults.so $(OUT)/bin/train_gpt $(OUT)/bin/prepare
$(OUT)/bin/faults.so: test/faults/shim.c
	@mkdir -p $(@D)
	$(call say,CC) $(CC) -std=gnu11 -O1 -g -D_GNU_SOURCE $(WARN) -fPIC -shared $< -o $(half) && mv $(half) $@

toys: toy ## the toy problems of arXiv 2605.06615: published numbers beside ours
	./toy

docs: train_gpt study ## write docs/config.md, docs/optimizers.md and the keys in docs/studies.md from the source
	./train_gpt --docs-config > docs/config.md
	./train_gpt --docs-optimizers > docs/optimizers.md
	./study --keys > build/keys.md
	sed -i -e '/^<!-- .*study --keys/,/^<!-- end/{//!d' -e '}' -e '/^<!-- .*study --keys/r build/keys.md' docs/studies.md

lint: train_gpt study ## warnings as errors with gcc and clang, clang-tidy, cppcheck, include rule, shellcheck, generated docs
	@test/lint.sh

bench: $(OUT)/bin/bench ## time training steps of small and large models (make bench ARGS=--help)
	@$< $(ARGS)

bench-optim: $(OUT)/bin/bench_optim ## time every optimizer's step on GPT-2 124M's tensors (make bench-optim ARGS=--help)
	@$< $(ARGS)

bench-checkpoint: $(OUT)/bin/bench_checkpoint ## time saves of GPT-2 124M beside dd (ARGS="FOLDER ROUNDS")
	@$< $(ARGS)

# PyTorch is no dependency: it lives in an environment of its own. Newest from PyPI, about 1 GB.
bench-peers: $(OUT)/bin/bench ## time the same steps against PyTorch (makes a Python environment in build/peers)
	@test -x build/peers/bin/python || python3 -m venv build/peers
	@build/peers/bin/python -c 'import torch, numpy, tiktoken' 2>/dev/null || \
		build/peers/bin/pip install -q torch numpy tiktoken
	@build/peers/bin/python scripts/bench_peers.py $< $(ARGS)

help: ## this list
	@sed -nE 's/^([a-z_-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

clean: ## remove everything that was built (data/ and runs/ stay)
	rm -rf build $(PROGRAMS)
.PHONY: deps quickstart test fuzz fuzzers deep races memory coverage faults faults-long fault-programs toys docs lint bench bench-optim bench-checkpoint bench-peers help clean

-include $(LIB_OBJ:.o=.d) $(MAINS:%.c=$(OUT)/%.d) $(TESTS:$(OUT)/bin/%=$(OUT)/test/%.d) \
         $(FUZZERS:$(OUT)/bin/%=$(OUT)/test/fuzz/%.d) $(OUT)/test/fuzz/replay.d \
         $(FAULTS:$(OUT)/bin/%=$(OUT)/test/faults/%.d) $(OUT)/test/faults/world.d
