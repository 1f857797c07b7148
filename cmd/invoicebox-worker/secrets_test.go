package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The values that must not be found anywhere. Each has characters that some
// encoding writes in another way.
const (
	markPartner  = "mArk:partner/t0ken+abc="
	markSigning  = "mArk signing key é/+="
	markToken    = "mArk:shop/t0ken+<xyz>&\"="
	markCode     = "mArk/code+1&2"
	markRejected = "rejected-mArk+code/3"
	markLost     = "lost-answer-mArk/4"
	markBroken   = "broken-json-mArk/5"
	markInvalid  = "mArk-code-much-too-long-to-be-one+of/those-that-are-read"
	markEmail    = "mArk+owner&co@shops.example"
	markNewer    = "mArk.newer+owner@shops.example"
	markOdd      = "mArk odd @@ address"
	markMember   = "mArk-unknown-member"
	markLimited  = "limited-mArk.owner@shops.example"
	markRefused  = "rejected-mArk.owner@shops.example"
	markFalse    = "mArk:wrong/partner+t0ken="
)

func marks() []string {
	return []string{
		markPartner, markSigning, markToken, markCode, markRejected, markLost, markBroken, markInvalid,
		markEmail, markNewer, markOdd, markMember, markLimited, markRefused, markFalse,
	}
}

// forms are the ways in which a text can stand in something: as it is, escaped
// once or twice, in hexadecimal, in base64 at each of the three places that it
// can have in a group.
func formsOf(text string) map[string][]byte {
	quoted := strings.Trim(fmt.Sprintf("%q", text), `"`)
	ascii := strings.Trim(fmt.Sprintf("%+q", text), `"`)
	var html, unicode strings.Builder
	for _, r := range text {
		if strings.ContainsRune(`<>&"+'@=/`, r) {
			fmt.Fprintf(&html, `\u%04x`, r)
		} else {
			html.WriteRune(r)
		}
		fmt.Fprintf(&unicode, `\u%04x`, r)
	}
	found := map[string][]byte{
		"plain": []byte(text), "quoted": []byte(quoted), "ASCII-quoted": []byte(ascii), "quoted twice": []byte(strings.Trim(fmt.Sprintf("%q", quoted), `"`)),
		"slashes escaped": []byte(strings.ReplaceAll(quoted, "/", `\/`)), "JSON for HTML": []byte(html.String()), "all escaped": []byte(unicode.String()),
		"query": []byte(url.QueryEscape(text)), "path": []byte(url.PathEscape(text)),
		"hex": []byte(hex.EncodeToString([]byte(text))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
		"bytes": []byte(strings.Trim(fmt.Sprint([]byte(text)), "[]")),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for shift := range 3 {
			padded := encoding.EncodeToString(append(make([]byte, shift), text...))
			// What touches the neighbours differs with them: only whole groups count.
			from, to := (shift*8+5)/6, (shift+len(text))*8/6
			found[fmt.Sprintf("%s+%d", name, shift)] = []byte(padded[from:to])
		}
	}
	return found
}

// The search finds what it looks for, in every form.
func TestTheSearchFinds(t *testing.T) {
	for _, text := range marks() {
		for name, form := range formsOf(text) {
			if len(form) < 8 {
				t.Errorf("%s of %q is too short to be told from chance: %q", name, text, form)
			}
		}
		for shift := range 3 {
			whole := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + text + "yz"))
			if !bytes.Contains([]byte(whole), formsOf(text)[fmt.Sprintf("base64+%d", shift)]) {
				t.Errorf("base64 of %q at %d is not found", text, shift)
			}
		}
	}
}

// The whole flow with marked secrets, and faults that make the worker talk: no
// byte of them is in what it writes, logs, measures or says.
func TestNoSecretAnywhere(t *testing.T) {
	t.Parallel()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := calm()
		o.Accounts = []sandbox.Account{{PartnerID: sandbox.DefaultPartnerID, Token: markPartner, SigningKey: markSigning}}
		o.RequestsPerWindow, o.EgressPerWindow = -1, -1
		r := newRig(t, c, o)
		r.write("signing", markSigning)
		if err := r.sandbox.AddCode(sandbox.Code{Code: markCode, MerchantID: "merchant-1", Token: markToken, PartnerID: sandbox.DefaultPartnerID}); err != nil {
			t.Fatal(err)
		}
		// Short times, so that the lost answer is probed.
		spans := newCollector(t)
		w := r.start("--otlp-endpoint", spans.URL, "--signing-key-file", r.path("signing"), "--request-deadline", "2s", "--lease", "4s", "--slack", "1s", "--quiet-period", "1s")

		r.selected("s1", markEmail)
		r.entered("s1", markCode)
		r.entered("s2", markRejected)
		r.entered("s3", markLost)
		r.entered("s4", markBroken)
		r.selected("s5", markRefused)
		r.selected("s6", markLimited)
		r.entered("s7", markCode) // another shop's code
		// Dead letters, each with a marked value where it is wrong.
		r.send(schemas.TypeProviderSelected, "selected-s1", "s1", fmt.Sprintf(`{"shopId":"s1","provider":"invoicebox","email":%q}`, markNewer)) // id_reused
		r.send(schemas.TypeProviderSelected, "d1", "d1", fmt.Sprintf(`{"shopId":"d1","provider":"invoicebox","email":%q}`, markOdd))
		r.send(schemas.TypeProviderSelected, "d2", "d2", fmt.Sprintf(`{"provider":"invoicebox","email":%q,%q:1}`, markEmail, markMember))
		r.send(schemas.TypeCodeEntered, "d3", "d3", fmt.Sprintf(`{"shopId":"d3","activationCode":%q}`, markInvalid))
		r.send(schemas.TypeCodeEntered, "d4", "d4", fmt.Sprintf(`{"shopId":"d4","activationCode":[%q]}`, markCode))
		r.send(schemas.TypeCodeEntered, "d5", "d5", fmt.Sprintf(`{"shopId":"d5","activationCode":%q`, markCode))
		r.send(schemas.TypeCodeEntered, "d6", "d6", fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, strings.Repeat("x", 200), markCode))

		r.results(schemas.TypeActivated, 1)
		r.results(schemas.TypeInvited, 2) // s6's after a wait
		r.results(schemas.TypeInvitationFailed, 1)
		r.results(schemas.TypeActivationFailed, 4)
		r.results(schemas.TypeDeadLetter, 7)
		_, metrics := w.get("/metrics")
		_, readiness := w.get("/readyz")
		said := map[string][]byte{"metrics": []byte(metrics), "metrics with exemplars": []byte(w.openMetrics()), "readiness": []byte(readiness)}
		for _, args := range [][]string{
			{"operations", "list", "--all"}, {"dead-letters", "list"}, {"dead-letters", "show", "1"}, {"accounts", "list"}, {"keys", "list"},
			{"shops", "show", "s1"}, {"shops", "show", "s3"}, {"shops", "show", "s5"},
		} {
			for _, output := range []string{"table", "json"} {
				name := strings.Join(args, " ") + " as " + output
				said[name] = []byte(r.must(append(append(args, "--output", output), r.beside()...)...))
			}
		}
		for name, doc := range r.bundle("bundle.tar.gz", w.addr, "--signing-key-file", r.path("signing")) {
			said["bundle, "+name] = doc
		}
		r.check(said, "check beside the worker", exitDone)
		// The token becomes wrong: /readyz and `check` report that, and the next start fails.
		r.write("token", markFalse)
		await(t, "the token is read again", func() bool { return strings.Contains(w.log.String(), "a file has changed and was read again") })
		r.entered("s8", "any-code-1")
		await(t, "the wrong token pauses the account", func() bool {
			_, text := w.get("/readyz")
			said["readiness with a wrong token"] = []byte(text)
			return strings.Contains(text, "account default: paused")
		})
		if out := r.must(append([]string{"resolve", "ref+sealed://journal/invoicebox/default/s1?version=1"}, r.beside()...)...); out != markToken+"\n" {
			t.Errorf("resolve prints %q", out)
		}
		r.read(said, "running ")
		if code := w.end(); code != exitDone {
			t.Errorf("exit status %d", code)
		}
		r.check(said, "check of a wrong token", exitFailed)
		code, out, errs := r.command(append([]string{"run"}, r.service()...)...)
		if code == exitDone || !strings.Contains(out+errs, "401") {
			t.Errorf("run with a wrong token: exit status %d\n%s%s", code, out, errs)
		}
		said["start with a wrong token"] = []byte(out + errs)
		r.read(said, "ended ")
		said["log"], said["spans"] = []byte(w.log.String()), spans.raw.Bytes()
		for _, typ := range schemas.OutputTypes() {
			for _, m := range r.cluster.ReadAll(t, r.topics[typ]) {
				said["topic "+typ] = slices.Concat(said["topic "+typ], m.Key, []byte("\n"), m.Value, []byte("\n"))
				for _, h := range m.Headers {
					said["topic "+typ] = slices.Concat(said["topic "+typ], []byte(h.Key), []byte("="), h.Value, []byte("\n"))
				}
			}
		}
		if len(spans.received()) < 20 || len(said["log"]) == 0 || len(said["topic "+schemas.TypeActivated]) == 0 || len(said["running journal.db-wal"]) == 0 || len(said["bundle, audit.json"]) == 0 || len(said["bundle, metrics.txt"]) == 0 {
			t.Error("the search has nothing to look at")
		}
		search(t, said, marks())
	})
}

// check adds what `check` prints, in both forms.
func (r *rig) check(said map[string][]byte, name string, want int) {
	r.t.Helper()
	for _, output := range []string{"table", "json"} {
		code, out, errs := r.command(append([]string{"check", "--output", output, "--signing-key-file", r.path("signing")}, r.service()...)...)
		if code != want || !strings.Contains(out, "token") {
			r.t.Errorf("%s as %s: exit status %d\n%s%s", name, output, code, out, errs)
		}
		said[name+" as "+output] = []byte(out + errs)
	}
}

// search fails the test for each text that is found in what was said, in whatever form.
func search(t *testing.T, said map[string][]byte, texts []string) {
	t.Helper()
	for _, text := range texts {
		for form, bytesOf := range formsOf(text) {
			for where, doc := range said {
				if i := bytes.Index(doc, bytesOf); i >= 0 {
					t.Errorf("%s holds %q (%s): …%q…", where, text, form, doc[max(0, i-80):min(len(doc), i+len(bytesOf)+40)])
				}
			}
		}
	}
}

// read adds the bytes of every file of the journal.
func (r *rig) read(said map[string][]byte, when string) {
	r.t.Helper()
	paths, err := filepath.Glob(r.path("journal.db*"))
	if err != nil || len(paths) == 0 {
		r.t.Fatalf("no journal: %v", err)
	}
	for _, path := range paths {
		doc, err := os.ReadFile(path)
		if err != nil {
			r.t.Fatal(err)
		}
		said[when+filepath.Base(path)] = doc
	}
}
