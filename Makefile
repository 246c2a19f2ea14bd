# Build variants live in folders of their own: make BUILD=asan test
CC      ?= gcc
BUILD   ?= release
ARCH    ?= native
OUT     := build/$(BUILD)

PKGS    := libcjson libpcre2-8 lapacke zlib
CHECKED := $(filter-out help clean deps quickstart corpus-%,$(or $(MAKECMDGOALS),all))

WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unknown-pragmas
# No -ffast-math: NaN checks and the order of sums stay. Only what kernels need: no errno, no FP traps.
FP      := -fno-math-errno -fno-trapping-math -ffp-contract=fast
CFLAGS_release := -O3 -march=$(ARCH) -g
CFLAGS_asan    := -O1 -march=$(ARCH) -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS  += -std=gnu11 $(WARN) $(WERROR) $(FP) $(CFLAGS_$(BUILD)) -fopenmp -I. -D_GNU_SOURCE
LDFLAGS += $(CFLAGS_$(BUILD)) -fopenmp

ifneq ($(CHECKED),)
MISSING := $(shell for p in $(PKGS); do pkg-config --exists $$p 2>/dev/null || echo $$p; done)
ifneq ($(MISSING),)
$(error pkg-config finds no $(MISSING). Type `make deps` (Debian and Ubuntu), or see scripts/deps.sh for what to install)
endif
CFLAGS  += $(shell pkg-config --cflags $(PKGS))
LIBS    += $(shell pkg-config --libs $(PKGS)) -lm
endif

# ---------------------------------------------------------------------------------------------------------------
LIB_SRC  := $(wildcard core/*.c model/*.c optim/*.c train/*.c) $(filter-out data/prepare.c,$(wildcard data/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(OUT)/%.o)
PROGRAMS := train_gpt prepare compare gpt2_check extract_rdb
TESTS    := $(patsubst test/%.c,%,$(wildcard test/test_*.c))

train_gpt_MAIN   := train_gpt.c
prepare_MAIN     := data/prepare.c
compare_MAIN     := scripts/compare.c
gpt2_check_MAIN  := scripts/gpt2_check.c
extract_rdb_MAIN := scripts/extract_rdb.c

.PHONY: all help test lint clean deps quickstart
all: $(PROGRAMS) ## build the programs (default)

help: ## this list
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(OUT)/libtrain_gpt.a: $(LIB_OBJ)
	@rm -f $@ && ar rcs $@ $^

define program_rule
$(OUT)/bin/$(1): $(OUT)/$($(1)_MAIN:.c=.o) $(OUT)/libtrain_gpt.a
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) $$^ $$(LIBS) -o $$@
.PHONY: $(1)
$(1): $(OUT)/bin/$(1)
	@ln -sf $$< $$@
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

$(OUT)/bin/test_%: $(OUT)/test/test_%.o $(OUT)/libtrain_gpt.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ $(LIBS) $(shell pkg-config --libs cmocka) -o $@

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
