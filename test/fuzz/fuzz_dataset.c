/* fuzz_dataset.c: dataset.json. What is accepted is the same when it is written again. */
#include "core/file.h"
#include "data/dataset.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DatasetInfo info = {0}, again = {0};
    Error err;
    fuzz_write("dataset.json", (Bytes){(const char *)data, size});
    if (!dataset_info(".", &info, &err)) {
        fuzz_refused(&err);
        return 0;
    }
    fuzz_accepted++;
    FUZZ_CHECK(dataset_info_write(".", &info, NULL, 0, &err) && file_rename("./dataset.json", &err));
    FUZZ_CHECK(dataset_info(".", &again, &err) && memcmp(&info, &again, sizeof info) == 0);
    return 0;
}
