/* SPDX-License-Identifier: MIT
 *
 * Two tables: names of keys (QEMU's first, so that keymap_name() gives those) and the characters of
 * a US keyboard.
 */
#include "ui/keymap.h"

#include <stdio.h>

#include "ui/hid.h"

struct key_name {
    const char *name;
    hid_key key;
};

// clang-format off
static const struct key_name names[] = {
    {"ret", HID_ENTER}, {"esc", HID_ESCAPE}, {"backspace", HID_BACKSPACE}, {"tab", HID_TAB},
    {"spc", HID_SPACE}, {"minus", HID_MINUS}, {"equal", HID_EQUAL},
    {"bracket_left", HID_LEFT_BRACKET}, {"bracket_right", HID_RIGHT_BRACKET},
    {"backslash", HID_BACKSLASH}, {"semicolon", HID_SEMICOLON}, {"apostrophe", HID_APOSTROPHE},
    {"grave_accent", HID_GRAVE}, {"comma", HID_COMMA}, {"dot", HID_DOT}, {"slash", HID_SLASH},
    {"caps_lock", HID_CAPS_LOCK}, {"print", HID_PRINT}, {"scroll_lock", HID_SCROLL_LOCK},
    {"pause", HID_PAUSE}, {"insert", HID_INSERT}, {"home", HID_HOME}, {"pgup", HID_PAGE_UP},
    {"delete", HID_DELETE}, {"end", HID_END}, {"pgdn", HID_PAGE_DOWN}, {"right", HID_RIGHT},
    {"left", HID_LEFT}, {"down", HID_DOWN}, {"up", HID_UP}, {"num_lock", HID_NUM_LOCK},
    {"kp_divide", HID_KP_DIVIDE}, {"kp_multiply", HID_KP_MULTIPLY},
    {"kp_subtract", HID_KP_SUBTRACT}, {"kp_add", HID_KP_ADD}, {"kp_enter", HID_KP_ENTER},
    {"kp_0", HID_KP_0}, {"kp_decimal", HID_KP_DECIMAL}, {"kp_equals", HID_KP_EQUAL},
    {"kp_comma", HID_KP_COMMA}, {"less", HID_NON_US_BACKSLASH}, {"compose", HID_APPLICATION},
    {"power", HID_POWER}, {"help", HID_HELP}, {"menu", HID_MENU}, {"props", HID_SELECT},
    {"stop", HID_STOP}, {"again", HID_AGAIN}, {"undo", HID_UNDO}, {"cut", HID_CUT},
    {"copy", HID_COPY}, {"paste", HID_PASTE}, {"find", HID_FIND}, {"audiomute", HID_MUTE},
    {"volumeup", HID_VOLUME_UP}, {"volumedown", HID_VOLUME_DOWN}, {"ro", HID_INTERNATIONAL_1},
    {"hiragana", HID_INTERNATIONAL_2}, {"yen", HID_INTERNATIONAL_3},
    {"henkan", HID_INTERNATIONAL_4}, {"muhenkan", HID_INTERNATIONAL_5}, {"lang1", HID_LANG_1},
    {"lang2", HID_LANG_2}, {"ctrl", HID_LEFT_CTRL}, {"shift", HID_LEFT_SHIFT},
    {"alt", HID_LEFT_ALT}, {"meta_l", HID_LEFT_GUI}, {"ctrl_r", HID_RIGHT_CTRL},
    {"shift_r", HID_RIGHT_SHIFT}, {"alt_r", HID_RIGHT_ALT}, {"meta_r", HID_RIGHT_GUI},
    /* Other names for the same keys. */
    {"enter", HID_ENTER}, {"return", HID_ENTER}, {"escape", HID_ESCAPE}, {"bksp", HID_BACKSPACE},
    {"space", HID_SPACE}, {"sysrq", HID_PRINT}, {"ins", HID_INSERT}, {"del", HID_DELETE},
    {"pageup", HID_PAGE_UP}, {"pagedown", HID_PAGE_DOWN}, {"asterisk", HID_KP_MULTIPLY},
    {"control", HID_LEFT_CTRL}, {"altgr", HID_RIGHT_ALT}, {"win", HID_LEFT_GUI},
};

/* The characters of the keys in order of their usages, plain and with shift. */
static const struct {
    hid_key first;
    const char *plain, *shifted;
} characters[] = {
    {HID_A, "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    {HID_1, "1234567890", "!@#$%^&*()"},
    {HID_MINUS, "-=[]\\", "_+{}|"},
    {HID_SEMICOLON, ";'`,./", ":\"~<>?"},
    {HID_ENTER, "\n", ""},
    {HID_TAB, "\t", ""},
    {HID_SPACE, " ", ""},
};
// clang-format on

/* ---- names ---- */

static bool is(const char *name, size_t n, const char *word)
{
    return strlen(word) == n && !memcmp(name, word, n);
}

/* The number in a name such as "f12" or "kp_7" after its prefix; 0 when there is none. */
static unsigned number_after(const char *name, size_t n, const char *prefix)
{
    size_t skip = strlen(prefix);
    if (n <= skip || n > skip + 2 || memcmp(name, prefix, skip) || name[skip] == '0')
        return 0;
    unsigned value = 0;
    for (size_t i = skip; i < n; i++) {
        if (name[i] < '0' || name[i] > '9')
            return 0;
        value = value * 10 + (unsigned)(name[i] - '0');
    }
    return value;
}

static hid_key by_character(char c, bool *shift)
{
    for (size_t i = 0; i < ARRAY_LEN(characters); i++) {
        const char *plain = strchr(characters[i].plain, c);
        const char *shifted = strchr(characters[i].shifted, c);
        if (!c || (!plain && !shifted))
            continue;
        *shift = !plain;
        size_t n = (size_t)(plain ? plain - characters[i].plain : shifted - characters[i].shifted);
        return (hid_key)(characters[i].first + n);
    }
    return HID_NONE;
}

hid_key keymap_by_name(const char *name, size_t n)
{
    bool shift;
    if (n == 1) {
        hid_key key = by_character(*name, &shift);
        return shift ? HID_NONE : key;
    }
    unsigned f = number_after(name, n, "f"), kp = number_after(name, n, "kp_");
    if (f >= 1 && f <= 12)
        return (hid_key)(HID_F1 + f - 1);
    if (f >= 13 && f <= 24)
        return (hid_key)(HID_F13 + f - 13);
    if (kp >= 1 && kp <= 9)
        return (hid_key)(HID_KP_1 + kp - 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (is(name, n, names[i].name))
            return names[i].key;
    }
    return HID_NONE;
}

bool keymap_combo(const char *text, size_t n, struct key_stroke *stroke, char *error, size_t size)
{
    *stroke = (struct key_stroke){0};
    if (size)
        *error = 0;
    for (size_t at = 0; at <= n;) {
        /* "ctrl--" ends with the minus key: a separator is looked for after the first character. */
        size_t end = at < n ? at + 1 : at;
        while (end < n && text[end] != '-')
            end++;
        hid_key key = end > at ? keymap_by_name(text + at, end - at) : HID_NONE;
        if (key == HID_NONE) {
            snprintf(error, size, "unknown key '%.*s'", (int)(end - at), text + at);
            return false;
        }
        if (stroke->count == KEY_STROKE_MAX) {
            snprintf(error, size, "too many keys at once (at most %d)", KEY_STROKE_MAX);
            return false;
        }
        stroke->keys[stroke->count++] = key;
        at = end + 1;
    }
    return true;
}

/* ---- text ---- */

static bool character_stroke(char c, struct key_stroke *stroke)
{
    bool shift;
    hid_key key = by_character(c, &shift);
    *stroke = (struct key_stroke){0};
    if (key == HID_NONE)
        return false;
    if (shift)
        stroke->keys[stroke->count++] = HID_LEFT_SHIFT;
    stroke->keys[stroke->count++] = key;
    return true;
}

/* <NAME> at `text`: its closing bracket, or NULL when this is just a character. */
static const char *bracket_end(const char *text)
{
    const char *end = *text == '<' && text[1] ? strchr(text + 2, '>') : NULL;
    for (const char *c = text + 1; end && c < end; c++) {
        if (*c == ' ' || *c == '<' || *c == '\n')
            return NULL;
    }
    return end;
}

static bool bracket_stroke(const char *text, const char *end, struct key_stroke *stroke,
                           char *error, size_t size)
{
    const char *name = text + 1;
    size_t n = (size_t)(end - name);
    if (is(name, n, "lt"))
        return character_stroke('<', stroke);
    if (is(name, n, "gt"))
        return character_stroke('>', stroke);
    return keymap_combo(name, n, stroke, error, size);
}

/* The character that backslash and `c` stand for; 0 for none. */
static char escaped(char c)
{
    switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case '\\': return '\\';
    case '<': return '<';
    default: return 0;
    }
}

bool keymap_next(const char **text, struct key_stroke *stroke, char *error, size_t size)
{
    const char *at = *text;
    if (size)
        *error = 0;
    if (!*at)
        return false;
    const char *end = bracket_end(at);
    if (end) {
        *text = end + 1;
        return bracket_stroke(at, end, stroke, error, size);
    }
    char c = *at++;
    if (c == '\\' && escaped(*at))
        c = escaped(*at++);
    *text = at;
    if (character_stroke(c, stroke))
        return true;
    if (c > 0)
        snprintf(error, size, "no key types character %02Xh", c);
    else
        snprintf(error, size, "no key types the character at '%.8s'", at - 1);
    return false;
}

const char *keymap_name(hid_key key)
{
    static const char *const letters_digits[] = {
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r",
        "s", "t", "u", "v", "w", "x", "y", "z", "1", "2", "3", "4", "5", "6", "7", "8", "9", "0"};
    static const char *const function_keys[] = {
        "f1",  "f2",  "f3",  "f4",  "f5",  "f6",  "f7",  "f8",  "f9",  "f10", "f11", "f12",
        "f13", "f14", "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24"};
    static const char *const keypad[] = {"kp_1", "kp_2", "kp_3", "kp_4", "kp_5",
                                         "kp_6", "kp_7", "kp_8", "kp_9"};
    if (key >= HID_A && key <= HID_0)
        return letters_digits[key - HID_A];
    if (key >= HID_F1 && key <= HID_F12)
        return function_keys[key - HID_F1];
    if (key >= HID_F13 && key <= HID_F24)
        return function_keys[12 + key - HID_F13];
    if (key >= HID_KP_1 && key < HID_KP_0)
        return keypad[key - HID_KP_1];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].key == key)
            return names[i].name;
    }
    return NULL;
}
