/* gpt2_file.h: GPT-2 weights in Hugging Face's layout: a folder with config.json and model.safetensors.
 * Names may carry the prefix "transformer."; linear weights are (inputs, outputs) there, (outputs, inputs)
 * here; rows of wte that pad the vocabulary are not in the file. A model without biases is written with
 * biases of zero, which compute the same, and with "bias": false in config.json, which only we read. */
#ifndef MODEL_GPT2_FILE_H
#define MODEL_GPT2_FILE_H

#include "core/safetensors.h"
#include "model/gpt2.h"

/* The shape of the model in `dir`/config.json (ERR_CHECKPOINT when it is not a GPT-2 this program
 * computes). */
bool gpt2_file_config(GPT2Config *config, const char *dir, Error *err);

/* Fills the model's weights from `dir`/model.safetensors; every tensor must be there with the right shape. */
bool gpt2_file_load(GPT2 *model, const char *dir, Error *err);

/* The same from a file that is open; `path` names it in errors. */
bool gpt2_file_read(GPT2 *model, const SafeTensors *file, const char *path, Error *err);

/* config.json of such a model, as text. malloc'ed; NULL when memory runs out. */
char *gpt2_file_config_text(const GPT2Config *config);

/* model.safetensors in memory, and the model's present weights into it, on all threads. */
bool gpt2_file_layout(SafeTensors *image, const GPT2 *model, Error *err);
void gpt2_file_fill(const SafeTensors *image, const GPT2 *model);

/* The tensor of `param` in `file`, named with `prefix` ("" or "grad."), with or without "transformer.";
 * NULL with err when it is missing or its shape is not the parameter's. */
const SafeTensor *gpt2_file_find(const SafeTensors *file, const GPT2 *model, const Param *param,
                                 const char *prefix, Error *err);

/* Element (row, col) of the parameter in its file's layout. */
double gpt2_file_value(const SafeTensor *tensor, const Param *param, size_t row, size_t col);

#endif
