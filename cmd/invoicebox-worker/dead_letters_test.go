package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// letters lists the dead letters that flags choose.
func (r *rig) letters(flags ...string) (list []deadLetterJSON) {
	r.t.Helper()
	out := r.must(append(append([]string{"dead-letters", "list", "--output", "json"}, flags...), r.beside()...)...)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return list
}

// forAccount sends a selection of a shop whose event names an account.
func (r *rig) forAccount(shop, account string) {
	r.send(schemas.TypeProviderSelected, "selected-"+shop, shop, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"%s@shop.example","partnerAccount":%q}`, shop, shop, account))
}

func TestDeadLettersAreChosen(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.forAccount("s1", "second")
	r.forAccount("s2", "second")
	r.send(schemas.TypeCodeEntered, "e3", "s3", `{"shopId":"s3","activationCode":["secret-code"]}`)
	r.results(schemas.TypeDeadLetter, 3)
	defer w.end()
	shops := func(flags ...string) string {
		var list []string
		for _, l := range r.letters(flags...) {
			list = append(list, l.Shop)
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct{ flags, want string }{
		{"", "s1 s2 s3"}, {"--reason unknown_account", "s1 s2"}, {"--reason too_large", ""},
		{"--from-topic " + r.topics[schemas.TypeCodeEntered], "s3"}, {"--from-topic nowhere", ""},
		{"--shop s2", "s2"}, {"--shop s2 --account second", "s2"}, {"--account second", "s1 s2"},
		{"--since 1h", "s1 s2 s3"}, {"--since " + soon, ""}, {"--until " + soon, "s1 s2 s3"}, {"--until 1h", ""},
		{"--reason unknown_account --until " + soon + " --shop s1", "s1"},
	} {
		if got := shops(strings.Fields(c.flags)...); got != c.want {
			t.Errorf("%q chooses %q, want %q", c.flags, got, c.want)
		}
	}
	for _, flags := range []string{"--reason nonsense", "--since yesterday", "--until -1h", "--until 0001-01-01T00:00:00Z", "--shop=", "--account="} {
		if code, _, errs := r.command(append(append([]string{"dead-letters", "list"}, strings.Fields(flags)...), r.beside()...)...); code != exitUsage {
			t.Errorf("%s: exit status %d, %s", flags, code, errs)
		}
	}
}

// A record is shown only on demand, and the audit trail names who asked.
func TestDeadLetterIsRevealed(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.send(schemas.TypeCodeEntered, "e1", "s1", `{"shopId":"s1","activationCode":["secret-code"]}`)
	r.results(schemas.TypeDeadLetter, 1)
	defer w.end()
	show := func(flags ...string) string {
		return r.must(append(append([]string{"dead-letters", "show", "1"}, flags...), r.beside()...)...)
	}
	if out := show() + show("--output", "json"); strings.Contains(out, "secret-code") {
		t.Errorf("the record is shown:\n%s", out)
	}
	if out := show("--reveal", "--actor", "anna", "--note", "the sender asks"); !strings.Contains(out, `{"shopId":"s1","activationCode":["secret-code"]}`) || !strings.Contains(out, `header  "ce_id": e1`) {
		t.Errorf("the record is not shown:\n%s", out)
	}
	var l deadLetterJSON
	if err := json.Unmarshal([]byte(show("--reveal", "--output", "json")), &l); err != nil || l.Record == nil || *l.Record.Value.Text != `{"shopId":"s1","activationCode":["secret-code"]}` || *l.Record.Key.Text != "s1" {
		t.Errorf("%v: %+v", err, l)
	}
	out := r.must(append([]string{"audit", "list"}, r.beside()...)...)
	if strings.Count(out, "dead-letters.revealed") != 2 || !strings.Contains(out, "anna") || !strings.Contains(out, "dead-letter/1") || !strings.Contains(out, "the sender asks") {
		t.Errorf("the audit trail does not tell:\n%s", out)
	}
	if code, _, errs := r.command("dead-letters", "show", "1", "--reveal", "--journal-url", r.journal); code == exitDone || !strings.Contains(errs, "keyset-file") {
		t.Errorf("without the keyset: exit status %d, %s", code, errs)
	}
}

// What is empty is told from what is not there.
func TestEmptyPartsOfARecordAreShown(t *testing.T) {
	doc, err := json.Marshal(payloadView(schemas.Message{Value: []byte{}, Headers: []schemas.Header{{Key: "a", Value: []byte{}}, {Key: "b"}, {Key: "c", Value: []byte{0xff}}}}))
	want := `{"key":null,"headers":[{"name":"a","value":{"text":""}},{"name":"b","value":null},{"name":"c","value":{"base64":"/w=="}}],"value":{"text":""}}`
	if err != nil || string(doc) != want {
		t.Errorf("%v: %s, want %s", err, doc, want)
	}
}
