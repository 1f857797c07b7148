package visible

import (
	"encoding/json"
	"testing"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"shop-1": "shop-1", "магазин №1 – café 店 🛒": "магазин №1 – café 店 🛒", "a\tb\nc": "a\tb\nc", `back\slash`: `back\slash`,
		"a\u202eb": `a\u202eb`, "\u2066x\u2069": `\u2066x\u2069`, "\u200e\u200f\u061c": `\u200e\u200f\u061c`, "a\u200bb\u200c\u200d\ufeff": `a\u200bb\u200c\u200d\ufeff`,
		"a\u00adb": `a\u00adb`, "a\u00a0b\u3000": `a\u00a0b\u3000`, "\u3164\u115f\u1160\uffa0": `\u3164\u115f\u1160\uffa0`, "x\ufe0f": `x\ufe0f`, "\u2800": `\u2800`,
		"\U000e0041": `\U000e0041`, "\x1b[31m": `\u001b[31m`, "\r": `\u000d`, "a\xffb": `a\xffb`, "a\ufffdb": "a\ufffdb", "\u2028": `\u2028`, "\ue000": `\ue000`,
	} {
		if got := Text(text); got != want {
			t.Errorf("%+q: %q, want %q", text, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, value := range []string{"shop", "a\u202eb", "\U000e0041\u200b", "店 🛒", "\u00a0\u2028\r\n\x7f\x1b"} {
		doc, err := json.MarshalIndent(map[string]string{"shop": value}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		shown := JSON(doc)
		if Text(string(shown)) != string(shown) {
			t.Errorf("%+q: %s still hides something", value, shown)
		}
		var back map[string]string
		if err := json.Unmarshal(shown, &back); err != nil || back["shop"] != value {
			t.Errorf("%+q: %s stands for %+q, %v", value, shown, back["shop"], err)
		}
	}
}
