package schemas_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/schemas"
)

// Odd addresses, legal and not, as the decoder and the schema judge them.
func TestAddresses(t *testing.T) {
	good := []string{
		"a@b", "owner@shop.example", "o.w-n_e+r@shop.example", "!#$%&'*+-/=?^_`{|}~@shop.example", "1@1.example", "-@shop.example",
		`"a@b"@shop.example`, `"a.b."@shop.example`, `"a\"b\\c"@shop.example`, `"\a"@shop.example`, "иван@пример.рф", "用户@例子.公司", "a@xn--e1afmkfd.xn--p1ai",
		"a@b--c.example", "a@a.b.c.d.e.f.example", " a@b.example\t", strings.Repeat("a", 88) + "@shop.exampl", "A@B.EXAMPLE", "🛒@shop.example",
	}
	bad := []string{
		"", " ", "a", "@", "a@", "@b", "a@@b", "a@b@c", "a b@c.example", "a@b c.example", "a,b@c.example", "a@b.example,c@d.example", "a@b.example;c@d.example",
		"<a@b.example>", "A <a@b.example>", `"A" <a@b.example>`, "a@b.example\nBcc: c@d.example", "a@b.example\r\n.c", "a\x00@b.example", "a\u0085@b.example", "a\u200b@b.example",
		"a\u202e@b.example", "\ufeffa@b.example", "a\u00a0@b.example", "\u00a0a@b.example", ".a@b.example", "a.@b.example", "a..b@c.example", "a@.b.example", "a@b.example.", "a@b..example",
		"a@-b.example", "a@b-.example", "a@b_c.example", "a@[192.0.2.1]", "a@[IPv6:::1]", "a(comment)@b.example", "a@b.example(comment)", "mailto:a@b.example", `a\@b@c.example`,
		`"@b.example`, `""@b.example`, `"a"b@c.example`, `"a b"@c.example`, `"a\"@c.example`, `"a"b"@c.example`, `"a\b c"@d.example`, `"a\,"@d.example`, "a@b.example/", "a@b.example?x=1", "a@b:25", strings.Repeat("a", 89) + "@shop.exampl",
	}
	d := decoder(t, schemas.DecoderOptions{})
	judge := func(email string, wanted bool) {
		text, err := json.Marshal(map[string]string{"shopId": "s", "provider": "invoicebox", "email": email})
		if err != nil {
			t.Fatal(err)
		}
		in, err := d.Decode(plainMessage(schemas.TypeProviderSelected, string(text)))
		if (err == nil) != wanted || wanted && in.Email.Reveal() != strings.Trim(email, " \t\r\n") {
			t.Errorf("%q: %v", email, err)
		}
		if invalid, ok := errors.AsType[*schemas.InvalidError](err); !wanted && (!ok || invalid.Where != "/email") {
			t.Errorf("%q: %v", email, err)
		}
		if err := schemas.Validate(schemas.TypeProviderSelected, text); (err == nil) != wanted {
			t.Errorf("%q: %v", email, err)
		}
	}
	for _, email := range good {
		judge(email, true)
	}
	for _, email := range bad {
		judge(email, false)
	}
}

func TestContentIsNotPrinted(t *testing.T) {
	in := schemas.Input{Content: schemas.Content(`{"data":{"activationCode":"marked"}}`)}
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "in", in, "content", in.Content)
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "in", in, "content", in.Content)
	text, _ := json.Marshal(in.Content)
	fmt.Fprintf(&b, "%s %v %x %d %s", text, in, in.Content, in.Content, &in.Content)
	if out := b.String(); strings.Contains(out, "marked") || strings.Contains(out, "6d61726b6564") || strings.Contains(out, "109 97") || !strings.Contains(out, "[content]") {
		t.Errorf("content shows: %s", out)
	}
}
