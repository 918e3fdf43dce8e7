/* SPDX-License-Identifier: MIT
 *
 * The main program of a fuzz target where libFuzzer is not linked: hands each file of a corpus
 * folder to the target once. An input that once crashed stays in the corpus, so the ordinary test
 * run proves that it no longer does. Some pseudo-random inputs are made up besides, so that the
 * target is exercised even while its corpus is empty.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST_INPUT = 1 << 20, MADE_UP_INPUTS = 2000, MADE_UP_SIZE = 512 };

static int replay_file(const char *folder, const char *name, uint8_t *buffer)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    size_t size = fread(buffer, 1, LARGEST_INPUT, file);
    fclose(file);
    LLVMFuzzerTestOneInput(buffer, size);
    return 0;
}

static int replay_folder(const char *folder, uint8_t *buffer)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        return 0;
    }
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && replay_file(folder, entry->d_name, buffer) == 0) {
            count++;
        }
    }
    closedir(dir);
    return count;
}

static void replay_made_up(uint8_t *buffer)
{
    uint32_t state = 0x2545f491;
    for (int i = 0; i < MADE_UP_INPUTS; i++) {
        size_t size = (size_t)(i % MADE_UP_SIZE);
        for (size_t j = 0; j < size; j++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            buffer[j] = (uint8_t)state;
        }
        LLVMFuzzerTestOneInput(buffer, size);
    }
}

int main(int argc, char **argv)
{
    uint8_t *buffer = malloc(LARGEST_INPUT);
    if (!buffer) {
        return 1;
    }
    int files = argc > 1 ? replay_folder(argv[1], buffer) : 0;
    replay_made_up(buffer);
    printf("%d saved and %d made-up inputs\n", files, MADE_UP_INPUTS);
    free(buffer);
    return 0;
}
