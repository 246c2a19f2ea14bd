/* elementwise.h: what the loops of element-wise optimizers share. */
#ifndef OPTIM_ELEMENTWISE_H
#define OPTIM_ELEMENTWISE_H

/* -1, 0 or 1. */
static inline float sign(float x) {
    return (float)(x > 0) - (float)(x < 0);
}

/* (1 - decay) w - lr u, decay = lr * weight_decay. Kept apart from 1: in fp32 1 - 1e-6 is off by 3 %. */
static inline float stepped(float w, float u, float lr, float decay) {
    return w - (decay * w + lr * u);
}

#endif
