/* fault_crash.c: after a power cut a disk holds what was synced, and of the rest any part.
 *
 * kill -9 leaves what was written in the system's cache, so it says nothing about the order of syncs. Here the calls of a
 * run are recorded (FAULT_JOURNAL) and played on a model of a disk up to every one of them; then what was not synced is
 * dropped, torn or kept by chance, names and bytes apart from each other, and a run has to go on from that (the method of
 * Pillai et al. 2014, "All File Systems Are Not Created Equal"). What was reported saved must be there, and whole.
 *
 *     build/release/bin/fault_crash          four disks after every call
 *     build/release/bin/fault_crash 10       forty */
#include "test/faults/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES_MOST = 64, NAME_SIZE = 64, STEPS = 15 };

/* ---- the disk ---------------------------------------------------------------------------------------- */

typedef struct Node Node;

typedef struct Name {
    char name[NAME_SIZE];
    Node *node;
} Name;

typedef struct Names {
    Name list[NAMES_MOST];
    int count;
} Names;

/* What was done to a directory: one name goes, one comes; "" for none. */
typedef struct Change {
    char gone[NAME_SIZE];
    Name come;
} Change;

/* A file grows at its end only, so that what is synced of it is its beginning. */
struct Node {
    bool is_dir;
    char *bytes;
    size_t size, synced;
    Names now, kept; /* kept: at the last sync; since then there were `changes` */
    Change changes[NAMES_MOST];
    int change_count;
};

static Node *new_node(bool is_dir) {
    Node *node = calloc(1, sizeof *node);
    CHECK(node, "out of memory");
    node->is_dir = is_dir;
    return node;
}

static Node *find(const Names *names, const char *name) {
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->list[i].name, name) == 0) return names->list[i].node;
    return NULL;
}

static void apply(Names *names, const Change *change) {
    for (int side = 0; side < 2; side++) {
        const char *name = side ? change->come.name : change->gone;
        for (int i = 0; i < names->count; i++)
            if (*name && strcmp(names->list[i].name, name) == 0)
                names->list[i--] = names->list[--names->count];
    }
    if (*change->come.name) names->list[names->count++] = change->come;
}

static void change(Node *dir, const char *gone, const char *come, Node *node) {
    Change c = {.come.node = node};
    snprintf(c.gone, sizeof c.gone, "%s", gone);
    snprintf(c.come.name, sizeof c.come.name, "%s", come);
    CHECK(dir && dir->change_count < NAMES_MOST && dir->now.count < NAMES_MOST, "too many names");
    apply(&dir->now, &c);
    dir->changes[dir->change_count++] = c;
}

/* The node of a path below `root`, and the directory it is in with its name there. */
static Node *walk(Node *root, const char *path, Node **dir, char name[NAME_SIZE]) {
    Node *node = root;
    *dir = NULL;
    for (path += *path == '/'; *path; path += strcspn(path, "/"), path += *path == '/') {
        *dir = node;
        snprintf(name, NAME_SIZE, "%.*s", (int)strcspn(path, "/"), path);
        node = node ? find(&node->now, name) : NULL;
    }
    return node;
}

static void append(Node *node, const char *bytes, size_t size) {
    node->bytes = realloc(node->bytes, node->size + size);
    CHECK(node->bytes, "out of memory");
    memcpy(node->bytes + node->size, bytes, size);
    node->size += size;
}

/* ---- the journal ------------------------------------------------------------------------------------- */

typedef struct Call {
    char kind[2048], path[512], other[512];
    size_t number;
    const char *bytes;
} Call;

/* The next call; paths lose the folder that all is in. */
static const char *read_call(const char *at, const char *end, const char *folder, Call *call) {
    char line[2048];
    long long number;
    size_t length = strcspn(at, "\n"), skip = strlen(folder);
    if (at >= end) return NULL;
    snprintf(line, sizeof line, "%.*s", (int)length, at);
    char *kind_end = strchr(line, ' '), *path_end = strchr(line, '\t'), *other_end = strrchr(line, '\t');
    CHECK(kind_end && path_end && other_end > path_end && sscanf(other_end, "%lld", &number) == 1,
          "journal: %s", line);
    *kind_end = *path_end = *other_end = '\0';
    snprintf(call->kind, sizeof call->kind, "%s", line);
    CHECK(strncmp(kind_end + 1, folder, skip) == 0, "journal: %s", kind_end + 1);
    snprintf(call->path, sizeof call->path, "%s", kind_end + 1 + skip);
    snprintf(call->other, sizeof call->other, "%s", path_end[1] ? path_end + 1 + skip : "");
    call->number = (size_t)number;
    call->bytes = at + length + 1;
    return call->bytes + (strcmp(call->kind, "write") == 0 ? call->number : 0);
}

static void play(Node *root, const Call *call) {
    char name[NAME_SIZE] = "", to_name[NAME_SIZE] = "";
    Node *dir, *to_dir, *node = walk(root, call->path, &dir, name);
    if (strcmp(call->kind, "create") == 0) {
        if (!node) change(dir, "", name, new_node(false));
        else if (call->number) node->size = node->synced = 0;
    } else if (strcmp(call->kind, "mkdir") == 0) {
        change(dir, "", name, new_node(true));
    } else if (strcmp(call->kind, "unlink") == 0) {
        change(dir, name, "", NULL);
    } else if (strcmp(call->kind, "rename") == 0) {
        walk(root, call->other, &to_dir, to_name);
        CHECK(dir == to_dir, "a name moves to another directory");
        change(dir, name, to_name, node);
    } else if (strcmp(call->kind, "write") == 0) {
        CHECK(node, "%s is written, but not there", call->path);
        append(node, call->bytes, call->number);
    } else if (strcmp(call->kind, "truncate") == 0) {
        node->size = call->number;
        if (node->synced > node->size) node->synced = node->size;
    } else if (strcmp(call->kind, "fsync") == 0 && node) {
        node->synced = node->size;
        node->kept = node->now;
        node->change_count = 0;
    }
}

/* ---- what the power cut leaves ----------------------------------------------------------------------- */

/* What is not synced: all names and no bytes; neither; each by chance. */
typedef enum { NAMES_ONLY, NOTHING, CHANCE } Rest;

static void leave_file(const Node *node, const char *path, Rest rest) {
    size_t size = node->synced, more = node->size - node->synced;
    if (rest == CHANCE && more) size += random_below((uint32_t)more + 1);
    FILE *f = fopen(path, "w");
    CHECK(f && fwrite(node->bytes, 1, size, f) == size, "%s cannot be written", path);
    for (; rest == CHANCE && random_below(2) && size < node->size; size++)
        fputc(0, f); /* room was made, bytes were not there */
    CHECK(fclose(f) == 0, "%s cannot be written", path);
}

static void leave(const Node *node, const char *path, Rest rest) {
    if (!node->is_dir) return leave_file(node, path, rest);
    Names names = rest == NAMES_ONLY ? node->now : node->kept;
    for (int i = 0; rest == CHANCE && i < node->change_count; i++)
        if (random_below(2)) apply(&names, &node->changes[i]);
    mkdir(path, 0777);
    for (int i = 0; i < names.count; i++) {
        char inner[1024];
        snprintf(inner, sizeof inner, "%s/%s", path, names.list[i].name);
        leave(names.list[i].node, inner, rest);
    }
}

/* ---- the test ---------------------------------------------------------------------------------------- */

/* The step that is known to be saved: its name is synced, or an older one is being removed since. */
static int reported(const Call *call, int named, int before) {
    int step;
    bool of_dir = strcmp(call->path, "/run/checkpoints") == 0;
    if (strcmp(call->kind, "fsync") == 0 && of_dir) return named;
    if (strcmp(call->kind, "rename") == 0 && sscanf(call->path, "/run/checkpoints/step_%d", &step) == 1 &&
        !strstr(call->path, ".tmp"))
        return named;
    return before;
}

static int named_by(const Call *call, int before) {
    int step;
    bool comes = strcmp(call->kind, "rename") == 0 &&
                 sscanf(call->other, "/run/checkpoints/step_%d", &step) == 1 &&
                 !strstr(call->other, ".tmp");
    return comes ? step : before;
}

static int continued_from(void) {
    size_t size;
    char *text = file_text("out", &size), *words = text ? strstr(text, "continuing from ") : NULL;
    int step = 0;
    if (words) sscanf(words, "continuing from disk/run/checkpoints/step_%d", &step);
    free(text);
    return step;
}

/* Whoever reads a run, or what is left of one, finds each of these as it was written, or none. */
static void check_whole_or_absent(void) {
    static const char *const names[] = {"config.json", "machine.json", "summary.json"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        size_t size;
        snprintf(path, sizeof path, "disk/run/%s", names[i]);
        char *text = file_text(path, &size);
        bool whole = !text || (size > 2 && strcmp(text + size - 2, "}\n") == 0 && strlen(text) == size);
        free(text);
        CHECK(whole, "%s is torn", path);
    }
}

static void check_recovery(const Node *root, Rest rest, int saved) {
    shell("rm -rf disk disk.*");
    leave(root, "disk", rest);
    check_whole_or_absent();
    if (access("disk/run", F_OK) != 0) CHECK(saved == 0, "step %d was saved, the run is gone", saved);
    if (file_has("disk/run/summary.json", "\"finished\": true")) {
        check_same_end("short", "disk/run", STEPS);
        return;
    }
    int status = train("run.dir=disk/run", NULL);
    CHECK(status == 0, "exit status %d", status);
    CHECK(!file_has("err", "warning"), "a damaged checkpoint has the name of a whole one");
    CHECK(continued_from() >= saved, "step %d was saved, it goes on from %d", saved, continued_from());
    check_same_end("short", "disk/run", STEPS);
}

static void after_a_power_cut_at_any_call_what_was_saved_is_whole(void) {
    char folder[512];
    size_t size;
    world_set("train.steps=15 checkpoint.keep_last=1");
    CHECK(train("run.dir=short", NULL) == 0, "it does not run");
    CHECK(getcwd(folder, sizeof folder), "where am I?");
    CHECK(train("run.dir=run", "FAULT_PATH=/faults.", "FAULT_JOURNAL=journal", NULL) == 0,
          "it does not run");
    char *journal = file_text("journal", &size);
    Node *root = new_node(true);
    Call call;
    int calls = 0, disks = 0, saved = 0, named = 0;
    for (const char *at = journal, *next; (next = read_call(at, journal + size, folder, &call));
         at = next, calls++) {
        play(root, &call);
        saved = reported(&call, named, saved);
        named = named_by(&call, named);
        bool last = next >= journal + size;
        if (last) saved = STEPS; /* it said "done" */
        if (!last && strcmp(call.kind, "write") == 0 && strstr(call.path, "metrics")) continue;
        for (int n = 0; n < 2 + 2 * world_scale; n++, disks++) {
            world_context("after call %d, %s %s, disk %d", calls, call.kind, call.path, n);
            check_recovery(root, n < 2 ? (Rest)n : CHANCE, saved);
        }
    }
    CHECK(calls > 80, "%d calls", calls);
    printf("    %d calls, %d disks\n", calls, disks);
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(after_a_power_cut_at_any_call_what_was_saved_is_whole);
    return world_end();
}
