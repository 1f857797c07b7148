package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"invoicebox-worker/internal/secret"
)

func TestNoVerbPrintsASecret(t *testing.T) {
	const text = "s3cr3t-text"
	type inner struct {
		S secret.String
		p *secret.String
		l []secret.String
	}
	s := secret.New(text)
	values := []any{s, &s, inner{s, &s, []secret.String{s}}, []secret.String{s}, map[string]secret.String{"k": s}, struct{ s secret.String }{s}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T"} {
			if out := fmt.Sprintf(verb, v); leaks(out, text) {
				t.Errorf("%s of %T prints the secret: %q", verb, v, out)
			}
		}
		for _, h := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(h(&b)).Info("m", "v", v)
			if leaks(b.String(), text) {
				t.Errorf("slog of %T prints the secret: %q", v, b.String())
			}
		}
		if b, err := json.Marshal(v); leaks(string(b), text) || (err != nil && leaks(err.Error(), text)) {
			t.Errorf("json of %T gives the secret away: %s %v", v, b, err)
		}
	}
}

func leaks(out, text string) bool {
	return strings.Contains(out, text) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", text))
}

func TestRevealEqualZero(t *testing.T) {
	s := secret.New("x")
	if s.Reveal() != "x" || s.IsZero() || !s.Equal(secret.New("x")) || s.Equal(secret.New("y")) || s.Equal(secret.String{}) {
		t.Error("a secret does not keep its text")
	}
	if z := secret.New(""); !z.IsZero() || z.Reveal() != "" || !z.Equal(secret.String{}) {
		t.Error("the empty text is not the zero secret")
	}
}
