#include "program_result.h"

#include <stdlib.h>
#include <string.h>

void result_free(RESULT *result)
{
    free(result->buffer);
    free(result->entries);
    memset(result, 0, sizeof(*result));
}

static void put_pair(CBOR_WRITER *writer, const char *key, uint64_t number)
{
    cbor_put_text(writer, key);
    cbor_put_unsigned(writer, number);
}

static void put_entries(CBOR_WRITER *writer, const RESULT *result)
{
    uint32_t index;

    cbor_put_text(writer, "entries");
    cbor_put_array(writer, result->entry_count);
    for (index = 0; index < result->entry_count; index++) {
        cbor_put_array(writer, 3);
        cbor_put_unsigned(writer, result->entries[index].data_length);
        cbor_put_unsigned(writer, result->entries[index].data_offset);
        cbor_put_unsigned(writer, result->entries[index].type);
    }
}

void result_encode(CBOR_WRITER *writer, const RESULT *result)
{
    const struct {
        const char *key;
        bool there;
        uint64_t number;
    } numbers[] = {
        {"status", true, result->status},
        {"begin", true, result->begin},
        {"end", true, result->end},
        {"process_id", true, result->process_id},
        {"thread_id", true, result->thread_id},
        {"handle", result->handle != 0, result->handle},
        {"result_length", (result->has & RESULT_HAS_LENGTH) != 0, result->result_length},
        {"buffer_length", (result->has & RESULT_HAS_BUFFER_LENGTH) != 0, result->buffer_length},
        {"disposition", (result->has & RESULT_HAS_DISPOSITION) != 0, result->disposition},
        {"input_address", result->input_address != 0, result->input_address},
        {"output_address", result->output_address != 0, result->output_address},
        {"name_address", result->name_address != 0, result->name_address},
    };
    uint64_t pairs = (result->buffer_size != 0) + (result->entry_count != 0);
    size_t index;

    for (index = 0; index < sizeof(numbers) / sizeof(numbers[0]); index++) {
        pairs += numbers[index].there;
    }
    cbor_put_map(writer, pairs);
    for (index = 0; index < sizeof(numbers) / sizeof(numbers[0]); index++) {
        if (numbers[index].there) {
            put_pair(writer, numbers[index].key, numbers[index].number);
        }
    }
    if (result->buffer_size != 0) {
        cbor_put_text(writer, "buffer");
        cbor_put_bytes(writer, result->buffer, result->buffer_size);
    }
    if (result->entry_count != 0) {
        put_entries(writer, result);
    }
}
