/* gpt2.h: GPT-2, forward and backward, in fp32.
 *
 *     GPT2 model;
 *     gpt2_create(&model, (GPT2Config){.T = 128, .V = 4096, .L = 4, .NH = 4, .C = 128, .bias = true}, B, threads, &err);
 *     gpt2_init_weights(&model, seed);
 *     double loss = gpt2_forward_backward(&model, inputs, targets, B, T, 0, 1);   // model.params[i].g
 *
 * Letters as in llm.c: B batch, T time, C channels, V vocabulary, Vp padded to 128, L layers, NH heads,
 * hs = C / NH.
 */
#ifndef MODEL_GPT2_H
#define MODEL_GPT2_H

#include "core/error.h"
#include "core/param.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GPT2Config {
    int T, V, L, NH, C;
    bool bias;  /* biases in linear layers and LayerNorms */
    bool parts; /* a step's batch may come in parts, to the same bits: takes V * C floats more */
} GPT2Config;

/* One set of tensors, weights or gradients. Linear weights are (outputs, inputs). NULL: no biases. */
typedef struct LayerTensors {
    float *ln1w, *ln1b;         /* (C) */
    float *qkvw, *qkvb;         /* (3*C, C), (3*C) */
    float *attprojw, *attprojb; /* (C, C), (C) */
    float *ln2w, *ln2b;         /* (C) */
    float *fcw, *fcb;           /* (4*C, C), (4*C) */
    float *fcprojw, *fcprojb;   /* (C, 4*C), (C) */
} LayerTensors;

typedef struct Tensors {
    float *wte;           /* (Vp, C); also the head */
    float *wpe;           /* (T, C) */
    LayerTensors *layers; /* (L) */
    float *lnfw, *lnfb;   /* (C) */
} Tensors;

/* Where a thread's time goes. What is left of it, the thread waits for others. */
typedef enum GPT2Section {
    SECTION_FORWARD, /* products of the linear layers: forward, */
    SECTION_DX,      /* gradient of the input, */
    SECTION_DW,      /* gradient of the weight */
    SECTION_HEAD,    /* all three of the head */
    SECTION_ATTENTION,
    SECTION_NORM,
    SECTION_GELU,
    SECTION_LOSS,
    SECTION_OTHER, /* embeddings, transposes */
    SECTION_COUNT
} GPT2Section;

typedef double GPT2Seconds[SECTION_COUNT];

typedef struct GPT2 {
    GPT2Config config;
    int Vp;
    Param *params; /* the table that optimizers, checkpoints and reports read */
    int param_count;
    Tensors w, g;
    int max_B, threads;
    struct Activations *acts;
    /* seconds of the last gpt2_forward_backward: layers forward; head, loss and layers backward */
    double forward_s, backward_s;
    GPT2Seconds *spent_s; /* (threads) the caller's, or NULL: every pass adds its seconds */
    void *param_memory, *act_memory;
} GPT2;

/* Allocates weights, gradients and room for batches of up to max_B sequences. After a failure nothing is
 * left to free, here and in gpt2_plan. */
bool gpt2_create(GPT2 *model, GPT2Config config, int max_B, int threads, Error *err);
void gpt2_free(GPT2 *model);

/* The parameter table without memory behind it (w and g are NULL), and the bytes that gpt2_create would
 * take for weights and gradients, and for activations: for --dry-run. gpt2_free it. */
bool gpt2_plan(GPT2 *model, GPT2Config config, int max_B, int threads, size_t *param_bytes,
               size_t *act_bytes, Error *err);

/* Normal with deviation 0.02, residual projections 0.02 / sqrt(2 L), biases 0, LayerNorm weights 1 (Radford
 * et al. 2019). Rows of wte beyond V are zero. A pure function of seed and tensor name order. */
void gpt2_init_weights(GPT2 *model, uint64_t seed);

/* Mean cross-entropy in nats over the B * T targets of inputs, targets (B, T), B <= max_B, T <= config.T, and of those
 * of the parts before this one; part 0 begins anew. The same bits however the sequences are cut into parts. */
double gpt2_forward(GPT2 *model, const int32_t *inputs, const int32_t *targets, int B, int T, int part);

/* The same, and the gradients. A batch may come in `parts` of B sequences each, part 0 first: gradients are those of
 * the mean loss of all, there after the last; the loss is the mean of the parts so far. With config.parts both are
 * the same bits however the batch is cut; without, the rows of wte are added up in another order. */
double gpt2_forward_backward(GPT2 *model, const int32_t *inputs, const int32_t *targets, int B, int T,
                             int part, int parts);

/* logits (V) for the token that follows tokens[0 .. n - 1], n <= config.T. With `extend`,
 * tokens[0 .. n - 2] must be what the previous call saw: their keys and values are used again. */
void gpt2_next_logits(GPT2 *model, const int32_t *tokens, int n, bool extend, float *logits);

/* Logits of all tokens, (B, T, V): for checks on small models. */
void gpt2_logits(GPT2 *model, const int32_t *inputs, int B, int T, float *logits);

/* Weights outside the embeddings and heads count 6 FLOPs a token, attention 6 L C T (the causal half):
 * 6 (12 L C^2 + Vp C) + 6 L C T. */
double gpt2_flops_per_token(GPT2Config config, int T);

#endif
