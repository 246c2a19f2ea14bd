/* param.h: a named tensor of weights with its gradient: all that an optimizer, a checkpoint or a report
 * needs to know about a model. The model publishes an array of these and keeps ownership of the memory. */
#ifndef CORE_PARAM_H
#define CORE_PARAM_H

#include <stddef.h>

/* Roles, not dimensions, decide which optimizer updates a tensor. */
typedef enum { ROLE_MATRIX, ROLE_EMBEDDING, ROLE_HEAD, ROLE_VECTOR, ROLE_COUNT } Role;

/* "matrix", "embedding", "head", "vector": the words used in configs and logs. */
static const char *const ROLE_NAMES[ROLE_COUNT] = {"matrix", "embedding", "head", "vector"};

typedef struct Param {
    char name[64]; /* Hugging Face GPT-2 name without "transformer.", such as "h.0.attn.c_attn.weight" */
    Role role;
    int rows, cols; /* a linear layer's weight is (outputs, inputs), row-major; a vector is (1, n) */
    int split;      /* how many equal matrices are stacked along rows: 3 for the fused q|k|v, else 1 */
    float *w, *g;   /* rows * cols weights and gradients */
} Param;

static inline size_t param_size(const Param *p) {
    return (size_t)p->rows * (size_t)p->cols;
}

#endif
