/* SPDX-License-Identifier: MIT
 *
 * The keys that this program names (USB HID Usage Tables, page 7). Letters, digits and function
 * keys are runs.
 */
#ifndef ANELLO_UI_HID_H
#define ANELLO_UI_HID_H

enum hid_usage {
    HID_NONE = 0,
    HID_A = 0x04,
    HID_Z = 0x1d,
    HID_1 = 0x1e,
    HID_0 = 0x27,
    HID_ENTER,
    HID_ESCAPE,
    HID_BACKSPACE,
    HID_TAB,
    HID_SPACE,
    HID_MINUS,
    HID_EQUAL,
    HID_LEFT_BRACKET,
    HID_RIGHT_BRACKET,
    HID_BACKSLASH,
    HID_NON_US_HASH,
    HID_SEMICOLON,
    HID_APOSTROPHE,
    HID_GRAVE,
    HID_COMMA,
    HID_DOT,
    HID_SLASH,
    HID_CAPS_LOCK,
    HID_F1,
    HID_F12 = HID_F1 + 11,
    HID_PRINT,
    HID_SCROLL_LOCK,
    HID_PAUSE,
    HID_INSERT,
    HID_HOME,
    HID_PAGE_UP,
    HID_DELETE,
    HID_END,
    HID_PAGE_DOWN,
    HID_RIGHT,
    HID_LEFT,
    HID_DOWN,
    HID_UP,
    HID_NUM_LOCK,
    HID_KP_DIVIDE,
    HID_KP_MULTIPLY,
    HID_KP_SUBTRACT,
    HID_KP_ADD,
    HID_KP_ENTER,
    HID_KP_1,
    HID_KP_0 = HID_KP_1 + 9,
    HID_KP_DECIMAL,
    HID_NON_US_BACKSLASH,
    HID_APPLICATION,
    HID_POWER,
    HID_KP_EQUAL,
    HID_F13,
    HID_F24 = HID_F13 + 11,
    HID_EXECUTE,
    HID_HELP,
    HID_MENU,
    HID_SELECT,
    HID_STOP,
    HID_AGAIN,
    HID_UNDO,
    HID_CUT,
    HID_COPY,
    HID_PASTE,
    HID_FIND,
    HID_MUTE,
    HID_VOLUME_UP,
    HID_VOLUME_DOWN,
    HID_KP_COMMA = 0x85,
    HID_INTERNATIONAL_1 = 0x87, /* Ro */
    HID_INTERNATIONAL_2,        /* Katakana/Hiragana */
    HID_INTERNATIONAL_3,        /* Yen */
    HID_INTERNATIONAL_4,        /* Henkan */
    HID_INTERNATIONAL_5,        /* Muhenkan */
    HID_LANG_1 = 0x90,          /* Hangul/English */
    HID_LANG_2,                 /* Hanja */
    HID_LEFT_CTRL = 0xe0,
    HID_LEFT_SHIFT,
    HID_LEFT_ALT,
    HID_LEFT_GUI,
    HID_RIGHT_CTRL,
    HID_RIGHT_SHIFT,
    HID_RIGHT_ALT,
    HID_RIGHT_GUI,
    HID_LAST = HID_RIGHT_GUI,
};

#endif
