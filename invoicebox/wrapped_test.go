package invoicebox_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

func packed(t testing.TB, body string, writer func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var out bytes.Buffer
	w := writer(&out)
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func gzipped(t testing.TB, body string) string {
	return packed(t, body, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func zlibbed(t testing.TB, body string) string {
	return packed(t, body, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func deflated(t testing.TB, body string) string {
	return packed(t, body, func(w io.Writer) io.WriteCloser { out, _ := flate.NewWriter(w, 9); return out })
}

// wrappings are what servers and proxies put around a response of theirs.
var wrappings = map[string]func(t testing.TB, body string) (wrapped, encoding string){
	"gzip":                     func(t testing.TB, b string) (string, string) { return gzipped(t, b), "gzip" },
	"gzip without its header":  func(t testing.TB, b string) (string, string) { return gzipped(t, b), "" },
	"gzip, another header":     func(t testing.TB, b string) (string, string) { return gzipped(t, b), "identity" },
	"gzip twice":               func(t testing.TB, b string) (string, string) { return gzipped(t, gzipped(t, b)), "gzip, gzip" },
	"gzip without its trailer": func(t testing.TB, b string) (string, string) { g := gzipped(t, b); return g[:len(g)-8], "gzip" },
	"gzip and more": func(t testing.TB, b string) (string, string) {
		return gzipped(t, b) + "\r\n\r\n more than ten", "x-gzip"
	},
	"header without gzip":    func(_ testing.TB, b string) (string, string) { return b, "gzip" },
	"deflate":                func(t testing.TB, b string) (string, string) { return zlibbed(t, b), "deflate" },
	"raw deflate":            func(t testing.TB, b string) (string, string) { return deflated(t, b), "deflate" },
	"header without deflate": func(_ testing.TB, b string) (string, string) { return "\n" + b, "deflate" },
	"byte order mark":        func(_ testing.TB, b string) (string, string) { return "\xef\xbb\xbf" + b, "" },
	"two byte order marks":   func(_ testing.TB, b string) (string, string) { return "\r\n\xef\xbb\xbf\xef\xbb\xbf\n" + b, "" },
	"gzip, byte order mark":  func(t testing.TB, b string) (string, string) { return gzipped(t, "\xef\xbb\xbf"+b), "gzip" },
	"a warning of PHP": func(_ testing.TB, b string) (string, string) {
		return "<br />\n<b>Warning</b>:  Undefined index {a} in <b>/srv/a.php</b> on line <b>7</b><br />\n" + b, ""
	},
	"a plain warning": func(_ testing.TB, b string) (string, string) {
		return "\nDeprecated: f() {x} in a.php on line 7\n" + b, ""
	},
	"a warning behind": func(_ testing.TB, b string) (string, string) { return b + "\n<br />\n<b>Notice</b>: x", "" },
	"NULs behind":      func(_ testing.TB, b string) (string, string) { return b + "\x00\x00", "" },
	"windows-1251 in a member": func(_ testing.TB, b string) (string, string) {
		return strings.Replace(b, "{", "{\"note\":\"\xcd\xe5\xe2\xe5\xf0\xed\xfb\xe9\",", 1), ""
	},
	"windows-1251 inside": func(_ testing.TB, b string) (string, string) {
		return strings.Replace(b, ":{", ":{\"message\":\"\xcd\xe5\xe2\xe5\xf0\xed\xfb\xe9\",", 1), ""
	},
	"members twice where nobody reads": func(_ testing.TB, b string) (string, string) {
		return strings.Replace(b, "{", `{"note":{"a":1,"a":2},"note":3,`, 1), ""
	},
}

func wrap(t testing.TB, name string, op invoicebox.Operation, status int, body string) invoicebox.Exchange {
	wrapped, encoding := wrappings[name](t, body)
	x := complete(op, status, wrapped)
	if encoding != "" {
		x.Header = http.Header{"Content-Encoding": {encoding}}
	}
	return x
}

func TestWrappedAnswers(t *testing.T) {
	for name := range wrappings {
		t.Run(name, func(t *testing.T) {
			x := wrap(t, name, invoicebox.Activate, 200, goodActivate)
			a, err := invoicebox.ParseActivation(x)
			if err != nil || a.MerchantID != partnerID || a.Token.Reveal() != markedShopToken {
				t.Errorf("activation: %+v %v", a, err)
			}
			if v := invoicebox.Classify(x); v.Outcome != invoicebox.Done {
				t.Errorf("activation: %+v", v)
			}
			kept, err := x.MarshalReceipt()
			if err != nil {
				t.Fatal(err)
			}
			back, err := invoicebox.UnmarshalReceipt(kept)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := invoicebox.ParseActivation(back); err != nil || b.MerchantID != a.MerchantID || !b.Token.Equal(a.Token) {
				t.Errorf("from its receipt: %+v %v", b, err)
			}
			if i, err := invoicebox.ParseInvitation(wrap(t, name, invoicebox.Invite, 200, `{"data":{"id":123}}`)); err != nil || i.ID != "123" {
				t.Errorf("invitation: %+v %v", i, err)
			}
			if c, err := invoicebox.ParseCheck(wrap(t, name, invoicebox.Check, 200, goodCheck)); err != nil || !c.Valid {
				t.Errorf("check: %+v %v", c, err)
			}
			const refusal = `{"error":{"code":"wrong_code","fields":[{"name":"activationCode","message":"x"}]}}`
			if v := invoicebox.Classify(wrap(t, name, invoicebox.Activate, 422, refusal)); v.Outcome != invoicebox.Refused || v.Code != "wrong_code" {
				t.Errorf("refusal: %+v", v)
			}
			const ours = `{"error":{"code":"validation","fields":[{"name":"partnerId"}]}}`
			if v := invoicebox.Classify(wrap(t, name, invoicebox.Activate, 422, ours)); v.Fault != invoicebox.FaultPartnerID {
				t.Errorf("a refusal of ours: %+v", v)
			}
		})
	}
}

func TestLooseMembers(t *testing.T) {
	for name, c := range map[string]struct{ data, merchant, token string }{
		"a number as merchant id":     {`"merchantId":770001,"token":"abc"`, "770001", "abc"},
		"a number as token":           {`"merchantId":"m","token":12345678901234567890123`, "m", "12345678901234567890123"},
		"a line break at the end":     {`"merchantId":"m","token":"abc\n"`, "m", "abc"},
		"spaces around":               {`"merchantId":" m\t","token":"  abc \r\n"`, "m", "abc"},
		"the same member twice":       {`"merchantId":"m","token":"abc","token":"abc"`, "m", "abc"},
		"an escaped name":             {`"merchantId":"m","\u0074oken":"abc"`, "m", "abc"},
		"beside bytes of another set": {"\"name\":\"\xcc\xe0\",\"merchantId\":\"m\",\"token\":\"abc\"", "m", "abc"},
	} {
		for _, more := range []string{"", `,"error":null`, `,"error":[]`, `,"error":{ }`, `,"error":""`, `,"error":false`} {
			a, err := invoicebox.ParseActivation(complete(invoicebox.Activate, 200, `{"data":{`+c.data+`}`+more+`}`))
			if err != nil || a.MerchantID != c.merchant || a.Token.Reveal() != c.token {
				t.Errorf("%s%s: %+v %v", name, more, a, err)
			}
		}
	}
}

// A bound holds for what is unpacked, not for what came.
func TestUnpackingIsBounded(t *testing.T) {
	pad := strings.Repeat(" ", 8<<20)
	for name, body := range map[string]string{
		"gzip":       gzipped(t, goodActivate+pad),
		"gzip twice": gzipped(t, gzipped(t, goodActivate+pad)),
		"deflate":    zlibbed(t, goodActivate+pad),
	} {
		x := complete(invoicebox.Activate, 200, body)
		if len(body) > invoicebox.DefaultMaxResponseBytes {
			t.Fatalf("%s: %d bytes are no test", name, len(body))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := invoicebox.ParseActivation(x); !errors.Is(err, invoicebox.ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d bytes are used to read it", name, used)
		}
	}
	for name, damaged := range map[string]string{
		"a wrong checksum": func() string { g := []byte(gzipped(t, goodActivate)); g[len(g)-6] ^= 1; return string(g) }(),
		"a cut stream":     gzipped(t, goodActivate)[:40],
	} {
		if _, err := invoicebox.ParseActivation(complete(invoicebox.Activate, 200, damaged)); !errors.Is(err, invoicebox.ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A page of a gateway is no refusal of the code, whatever its scripts hold.
func TestPagesAreNoRefusals(t *testing.T) {
	for _, body := range []string{
		"<!DOCTYPE html>\n<script>\n{\"error\":{\"code\":\"wrong_code\"}}\n</script>",
		"<html>\n{\"code\":\"wrong_code\"}",
		"{\"code\":\"wrong_code\"}\n<html>",
		"{\"error\":{\"code\":\"a\",\"code\":\"b\"}}",
	} {
		if v := invoicebox.Classify(complete(invoicebox.Activate, 404, body)); v.Fault != invoicebox.FaultAddress {
			t.Errorf("%q: %+v", body, v)
		}
	}
}

// What repeats a secret is found under a coding too.
func TestEchoUnderGzip(t *testing.T) {
	m := &memory{handle: func(s *served) {
		s.request()
		s.say(answer(422, gzipped(t, `{"error":{"code":"`+strings.ToLower(markedCode)+`"}}`), "Content-Encoding: gzip"))
	}}
	client, log := newClient(t, options("http://127.0.0.1", m.transport()))
	x := client.Activate(t.Context(), invoicebox.CallOptions{}, secret.New(markedCode))
	if v := invoicebox.Classify(x); v.Outcome != invoicebox.Refused || v.Code != "" || !x.EchoesSecret {
		t.Errorf("%+v, echo %t", v, x.EchoesSecret)
	}
	mustNotLeak(t, x, log.String())
}
