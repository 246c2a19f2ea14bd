/* schema.h: every section and key of a config, declared once. Parsing (config.c), --help, --describe and
 * docs/config.md (config_help.c) read these tables. Optimizers add theirs, see optim/optim.h. */
#ifndef TRAIN_SCHEMA_H
#define TRAIN_SCHEMA_H

#include "train/config.h"

typedef struct Section {
    const char *name;
    size_t offset; /* of its struct in Config */
    const Field *fields;
    const char *doc; /* one line */
} Section;

extern const Section CONFIG_SECTIONS[]; /* ends with {0}; all but "optimizer" */

/* lr and weight_decay in an OptimizerChoice. Their defaults come from the optimizer. */
extern const Field RATE_FIELDS[];

/* The optimizer's name that `word` may have meant, or NULL. */
const char *nearest_optimizer(const char *word);

#endif
