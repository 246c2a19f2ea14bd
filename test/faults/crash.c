/* crash.c */
int nothing_yet(void);
int nothing_yet(void) {
    return 0;
}
