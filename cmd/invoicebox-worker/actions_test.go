package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// typed runs a command with something on its standard input.
func (r *rig) typed(stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var out, errs buffer
	env := environment{stdin: stdin, stdout: &out, stderr: &errs}
	code = run(ctx, append(args, r.beside()...), env)
	return code, out.String(), errs.String()
}

// waiting gives the operations in attention by shop, once there are n.
func (r *rig) waiting(n int) map[string]operationJSON {
	r.t.Helper()
	found := map[string]operationJSON{}
	await(r.t, fmt.Sprint(n, " operations in attention"), func() bool {
		var list []operationJSON
		out := r.must(append([]string{"operations", "list", "--attention", "--output", "json"}, r.beside()...)...)
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			r.t.Fatal(err)
		}
		clear(found)
		for _, o := range list {
			found[o.Shop] = o
		}
		return len(list) == n
	})
	return found
}

// audit gives the audit trail as text.
func (r *rig) audit() string {
	r.t.Helper()
	var lines []string
	s := settings{Worker: config.Worker{JournalURL: r.journal}}
	if err := withJournal(r.t.Context(), &s, environment{}, func(j journal.Journal) error {
		list, err := j.Audit(r.t.Context(), 0, 1000)
		for _, e := range list {
			lines = append(lines, e.Actor+" "+e.Act+" "+e.Subject+" "+e.Detail)
		}
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func actionOf(t *testing.T, out string) (i actionJSON) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &i); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return i
}

const (
	markEntered = "mArk:entered/t0ken+by=hand"
	markWrong   = "mArk:wrong/t0ken+by=hand"
)

// Every act of a person over a running service: what it leads to, who did it,
// and that a token that was entered stands nowhere.
func TestActsOfAPerson(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--request-deadline", "1s", "--lease", "2s", "--slack", "200ms", "--quiet-period", "200ms")
	r.entered("s1", "lost-answer-1")
	r.entered("s2", "error500-0-2")
	r.entered("s3", "broken-json-3")
	r.results(schemas.TypeActivationFailed, 3)
	ops := r.waiting(3)
	for shop, want := range map[string]string{"s1": "outcome_lost [set-credentials close]", "s2": "outcome_unknown [probe set-credentials close]", "s3": "answer_unreadable [reread set-credentials close]"} {
		o := ops[shop]
		if got := fmt.Sprint(o.Reason, " ", o.Attention.Safe); got != want || o.Attention.Certain == "" || o.Attention.Uncertain == "" {
			t.Errorf("%s: %s, want %s", shop, got, want)
		}
	}
	said := map[string]string{}
	tell := func(want int, words string, stdin string, args ...string) string {
		t.Helper()
		code, out, errs := r.typed(strings.NewReader(stdin), args...)
		said[strings.Join(args, " ")] = out + errs
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, words, out, errs)
		}
		return out
	}
	if out := tell(exitDone, "safe commands", "", "operations", "show", ops["s1"].ID); !strings.Contains(out, "not certain") {
		t.Errorf("show says\n%s", out)
	}
	tell(exitDone, "set-credentials close", "", "operations", "list", "--attention")

	// A token that works elsewhere, one that does not, one that is the shop's.
	token, merchant := r.sandbox.TokenOf("lost-answer-1"), r.sandbox.MerchantOf("lost-answer-1")
	enter := []string{"operations", "set-credentials", ops["s1"].ID, "--merchant-id", merchant, "--actor", "anna", "--reason", "ticket 4711"}
	tell(exitFailed, "Invoicebox refuses this token", markWrong+"\n", enter...)
	out := tell(exitDone, `"state": "performed"`, token+"\n", append(enter, "--output", "json")...)
	if i := actionOf(t, out); i.Result != "activated" || i.Actor != "anna" || i.Reason != "ticket 4711" || i.MerchantID != merchant || i.EndedAt == nil || i.Action != "set-credentials" {
		t.Errorf("the intent is %+v", i)
	}
	event := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated)
	if event.ShopID != "s1" || event.MerchantID != merchant || event.Verification != schemas.VerificationVerified {
		t.Errorf("activated: %+v", event)
	}
	if got := r.must(append([]string{"resolve", event.Credentials.Ref}, r.beside()...)...); got != token+"\n" {
		t.Error("the reference resolves to something else")
	}
	tell(exitFailed, "it is done (activated)", "", "operations", "close", ops["s1"].ID, "--reason", "test")
	if out := tell(exitDone, "ticket 4711", "", "operations", "show", ops["s1"].ID); !strings.Contains(out, "token_refused") || !strings.Contains(out, "anna") {
		t.Errorf("show says\n%s", out)
	}

	tell(exitFailed, "not safe", "", "operations", "retry", ops["s2"].ID)
	tell(exitDone, "planned", "", "operations", "probe", ops["s2"].ID)
	// What was kept of it, without and with its body.
	response := []string{"operations", "response", ops["s3"].ID, "--actor", "anna", "--reason", "ticket 4712"}
	plain := tell(exitDone, "readable    no: the body is not a JSON object", "", response...)
	if !strings.Contains(plain, "status      200") || !strings.Contains(plain, "Content-Type") || !strings.Contains(plain, "sha256") || strings.Contains(plain, "merchantId\"") || strings.Contains(plain, "body\n") {
		t.Errorf("without --reveal:\n%s", plain)
	}
	if audit := r.audit(); strings.Contains(audit, "response") {
		t.Errorf("the audit has %s", audit)
	}
	tell(exitDone, `"merchantId":`, "", append(response, "--reveal")...)
	if audit := r.audit(); !strings.Contains(audit, "anna response "+ops["s3"].ID+" 1 responses revealed; ticket 4712") {
		t.Errorf("the audit has %s", audit)
	}
	var views []responseJSON
	if err := json.Unmarshal([]byte(tell(exitDone, `"sha256"`, "", append(response, "--reveal", "--output", "json")...)), &views); err != nil || len(views) != 1 || views[0].Body == "" || views[0].Length == 0 || views[0].Attempt != 1 {
		t.Errorf("%v: %+v", err, views)
	}
	tell(exitFailed, "no response is kept", "", "operations", "response", ops["s2"].ID)
	if out := tell(exitDone, "body_unusable: ", "", "operations", "show", ops["s3"].ID); !strings.Contains(out, "operations response") {
		t.Errorf("show says\n%s", out)
	}
	tell(exitFailed, "cannot be read by this version either", "", "operations", "reread", ops["s3"].ID)
	tell(exitDone, "closed", "", "operations", "close", ops["s3"].ID, "--reason", "test")
	failures := r.results(schemas.TypeActivationFailed, 5)
	closed := failures[slices.IndexFunc(failures, func(e schemas.Event) bool {
		return e.Data.(schemas.ActivationFailed).Reason == schemas.FailureClosed
	})]
	if d := closed.Data.(schemas.ActivationFailed); d.ShopID != "s3" || !d.Final || closed.Sequence != 2 {
		t.Errorf("closed: %+v, sequence %d", d, closed.Sequence)
	}

	tell(exitFailed, "not paused", "", "accounts", "resume", "default")
	tell(exitDone, "paused", "", "accounts", "pause", "default")
	tell(exitDone, "operator", "", "accounts", "list")
	r.entered("s4", "code-4")
	tell(exitDone, "resumed", "", "accounts", "resume", "default", "--output", "json")
	r.results(schemas.TypeActivated, 2)

	// Without a worker it waits, and the next one performs it.
	r.waiting(1)
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	tell(exitFailed, "it waits in the journal", "", "operations", "close", ops["s2"].ID, "--reason", "test", "--wait", "300ms")
	out = tell(exitDone, `"state": "waiting"`, "", "operations", "close", ops["s2"].ID, "--reason", "test", "--wait", "0s", "--output", "json")
	if i := actionOf(t, out); i.Result != "" || i.EndedAt != nil {
		t.Errorf("the intent is %+v", i)
	}
	second := r.start()
	r.results(schemas.TypeActivationFailed, 6)
	r.waiting(0)
	await(t, "the second of two is refused", func() bool {
		return strings.Contains(r.must(append([]string{"operations", "show", ops["s2"].ID}, r.beside()...)...), "moved_on")
	})
	_, metrics := second.get("/metrics")
	if count(metrics, "invoicebox_worker_operator_actions_total", `action="close",result="closed"`) != 1 {
		t.Error("the metrics do not count acts")
	}
	if code := second.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	said["log"], said["metrics"] = w.log.String()+second.log.String(), metrics
	r.silent(said, token, markWrong)
}

// silent makes sure that texts stand nowhere.
func (r *rig) silent(said map[string]string, texts ...string) {
	r.t.Helper()
	docs := map[string][]byte{}
	r.read(docs, "")
	for name, text := range said {
		docs[name] = []byte(text)
	}
	for _, typ := range schemas.OutputTypes() {
		for _, m := range r.cluster.ReadAll(r.t, r.topics[typ]) {
			docs["topic "+typ] = slices.Concat(docs["topic "+typ], m.Value, fmt.Append(nil, m.Headers))
		}
	}
	for _, text := range texts {
		for form, bytesOf := range formsOf(text) {
			for where, doc := range docs {
				if strings.Contains(string(doc), string(bytesOf)) {
					r.t.Errorf("%s holds a token (%s)", where, form)
				}
			}
		}
	}
}

// What cannot be asked for is told at once, and leaves nothing in the journal.
func TestActsThatAreNotAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.entered("s1", "broken-json-1")
	id := r.waiting(1)["s1"].ID
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	other := r.path("other.json")
	r.must("keys", "create", "--keyset-file", other)
	open := r.chmod(r.write("open", markEntered), 0o644)
	enter := func(more ...string) []string {
		return append([]string{"operations", "set-credentials", id, "--merchant-id", "merchant-1", "--wait", "0s"}, more...)
	}
	for name, c := range map[string]struct {
		want  int
		words string
		stdin io.Reader
		args  []string
	}{
		"no id":                     {exitUsage, "an operation's id is needed", nil, []string{"operations", "close"}},
		"a closing without reason":  {exitUsage, "--reason is required", nil, []string{"operations", "close", id}},
		"a prefix of an id":         {exitUsage, "whole UUID", nil, []string{"operations", "close", id[:8], "--reason", "test"}},
		"an id without dashes":      {exitUsage, "whole UUID", nil, []string{"operations", "close", strings.ReplaceAll(id, "-", ""), "--reason", "test"}},
		"an id to be shown":         {exitUsage, "whole UUID", nil, []string{"operations", "show", "{" + id + "}"}},
		"no UUID":                   {exitUsage, "whole UUID", nil, []string{"operations", "probe", "'; DROP TABLE intent; --"}},
		"an id that nobody has":     {exitFailed, "no operation", nil, []string{"operations", "retry", "00000000-0000-0000-0000-000000000000"}},
		"an account that is not":    {exitFailed, "no account", nil, []string{"accounts", "pause", "nobody"}},
		"what is not safe":          {exitFailed, "safe: reread, set-credentials, close", nil, []string{"operations", "retry", id}},
		"a huge reason":             {exitUsage, "at most 500 bytes", nil, []string{"operations", "close", id, "--reason", strings.Repeat("x", 501)}},
		"a line break":              {exitUsage, "on one line", nil, []string{"operations", "close", id, "--reason", "a\nb"}},
		"an escape":                 {exitUsage, "printable", nil, []string{"operations", "close", id, "--reason", "a\x1b[31mb"}},
		"text that turns around":    {exitUsage, "printable", nil, []string{"accounts", "pause", "default", "--actor", "a\u202eb"}},
		"no UTF-8":                  {exitUsage, "printable", nil, []string{"accounts", "pause", "default", "--reason", "\xff"}},
		"a wait that goes back":     {exitUsage, "--wait", nil, []string{"accounts", "pause", "default", "--wait=-1s"}},
		"a wait without end":        {exitUsage, "--wait", nil, []string{"accounts", "pause", "default", "--wait", "1000h"}},
		"no merchant id":            {exitUsage, "--merchant-id", strings.NewReader(markEntered), []string{"operations", "set-credentials", id}},
		"an odd merchant id":        {exitFailed, "merchantId", strings.NewReader(markEntered), []string{"operations", "set-credentials", id, "--merchant-id", "a b"}},
		"a huge merchant id":        {exitFailed, "merchantId", strings.NewReader(markEntered), []string{"operations", "set-credentials", id, "--merchant-id", strings.Repeat("m", 37)}},
		"the token as merchant id":  {exitFailed, "the same", strings.NewReader("merchant-1"), enter()},
		"closed standard input":     {exitFailed, "no standard input", nil, enter()},
		"empty standard input":      {exitFailed, "is empty", strings.NewReader(""), enter()},
		"blank standard input":      {exitFailed, "is empty", strings.NewReader(" \n"), enter()},
		"two lines":                 {exitFailed, "more than one line", strings.NewReader(markEntered + "\n" + markEntered + "\n"), enter()},
		"a NUL":                     {exitFailed, "control characters", strings.NewReader(markEntered + "\x00"), enter()},
		"a token with a blank":      {exitFailed, "no header may have", strings.NewReader(markEntered + " " + markEntered), enter()},
		"endless standard input":    {exitFailed, "too large", endless{}, enter()},
		"a broken standard input":   {exitFailed, "cannot be read", broken{}, enter()},
		"a file that is not there":  {exitFailed, "cannot be read", nil, enter("--shop-token-file", r.path("none"))},
		"a file that all can read":  {exitFailed, "chmod 600", nil, enter("--shop-token-file", open)},
		"a folder":                  {exitFailed, "regular file", nil, enter("--shop-token-file", r.dir)},
		"another keyset":            {exitFailed, "does not fit", strings.NewReader(markEntered), enter("--keyset-file", other)},
		"the token as an argument":  {exitUsage, "unknown flag", nil, enter("--shop-token", markEntered)},
		"the token behind the id":   {exitUsage, "unexpected argument", nil, enter("tokentext")},
		"an operation of an invite": {exitUsage, "unexpected argument", nil, []string{"accounts", "pause", "default", "default"}},
	} {
		t.Run(name, func(t *testing.T) {
			var code int
			var out, errs string
			if slices.Contains(c.args, "--keyset-file") {
				var o, e buffer
				code = run(t.Context(), append(c.args, "--journal-url", "sqlite:"+r.path("journal.db")), environment{stdin: c.stdin, stdout: &o, stderr: &e})
				out, errs = o.String(), e.String()
			} else {
				code, out, errs = r.typed(c.stdin, c.args...)
			}
			if code != c.want || out != "" || !strings.Contains(errs, c.words) {
				t.Errorf("exit status %d, want %d and %q\n%s%s", code, c.want, c.words, out, errs)
			}
			if strings.Contains(errs, markEntered) && name != "the token as an argument" {
				t.Error("the token is shown")
			}
		})
	}
	if out := r.must(append([]string{"operations", "show", id}, r.beside()...)...); !strings.Contains(out, "no operator actions") {
		t.Errorf("something was asked for:\n%s", out)
	}
	// From a file, and on stdin without a line break.
	r.write("shop-token", markEntered+"\n")
	for _, more := range [][]string{{"--shop-token-file", r.path("shop-token")}, {"--shop-token-file", "-"}} {
		if code, out, errs := r.typed(strings.NewReader(markEntered), enter(more...)...); code != exitDone || !strings.Contains(out, "asked for") {
			t.Errorf("%q: exit status %d\n%s%s", more, code, out, errs)
		}
	}
	r.silent(nil, markEntered)
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 't'
	}
	return len(b), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// The reason that the worker knew reaches the operator, with what to set, in
// both forms; and the log has one line for an operation that needs a decision.
func TestShowNamesTheCause(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.entered("s1", "partner-field-1")
	o := r.waiting(1)["s1"]
	out := r.must(append([]string{"operations", "show", o.ID}, r.beside()...)...)
	for _, want := range []string{"partner_id_refused: ", "--partner-id"} {
		if !strings.Contains(out, want) {
			t.Errorf("show has no %q:\n%s", want, out)
		}
	}
	var shown operationJSON
	if err := json.Unmarshal([]byte(r.must(append([]string{"operations", "show", o.ID, "--output", "json"}, r.beside()...)...)), &shown); err != nil {
		t.Fatal(err)
	}
	if a := shown.Attention; a == nil || a.Cause != "partner_id_refused" || a.Uncertain != "" || a.Meaning == "" || !strings.Contains(a.Advice, "--partner-id") || shown.AttemptList[0].Reason != a.Cause {
		t.Errorf("shown is %+v, attempts %+v", a, shown.AttemptList)
	}
	text := w.log.String()
	if strings.Count(text, `"level":"WARN","msg":"operation needs an operator's decision`) != 1 || !strings.Contains(text, `"cause":"partner_id_refused"`) {
		t.Errorf("the log:\n%s", text)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}
