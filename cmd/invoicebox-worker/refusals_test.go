package main

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// with replaces the value of a flag, or adds it.
func with(args []string, name, value string) []string {
	args = slices.Clone(args)
	if i := slices.Index(args, name); i >= 0 {
		args[i+1] = value
		return args
	}
	return append(args, name, value)
}

// What is wrong at the start is told in words within seconds, with exit status
// 1, and nothing was sent or published.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	c := kafkatest.Embedded(t)
	r := newRig(t, c, calm())
	good := r.service()
	for i := slices.Index(good, "--topic"); i >= 0; i = slices.Index(good, "--topic") {
		good = slices.Delete(good, i, i+2)
	}
	good = append(good, "--topic", topicFlag(r, schemas.TypeInvited, r.topics[schemas.TypeInvited]))
	closed := noListener
	silent := silentServer(t)

	for _, tc := range []struct {
		name string
		args func(t *testing.T) []string
		want []string
	}{
		{"unreachable broker", func(*testing.T) []string { return with(good, "--kafka-brokers", closed) }, []string{closed, "cannot be reached"}},
		{"silent broker", func(*testing.T) []string { return with(good, "--kafka-brokers", silent) }, []string{silent, "did not answer"}},
		{"a broker's name that nobody knows", func(*testing.T) []string { return with(good, "--kafka-brokers", "no-such-host.invalid:9092") }, []string{"no-such-host.invalid"}},
		{"TLS to a broker without", func(*testing.T) []string { return append(slices.Clone(good), "--kafka-tls") }, []string{"--kafka-tls"}},
		{"missing topic", func(t *testing.T) []string {
			return with(good, "--topic", topicFlag(r, schemas.TypeDeadLetter, "gone"))
		}, []string{"no topic", "gone", "topics create"}},
		{"one topic for two events", func(t *testing.T) []string {
			return with(good, "--topic", topicFlag(r, schemas.TypeDeadLetter, r.topics[schemas.TypeActivated]))
		}, []string{"--topic", "each needs its own"}},
		{"missing keyset", func(*testing.T) []string { return with(good, "--keyset-file", r.path("none.json")) }, []string{"--keyset-file", "none.json", "keys create"}},
		{"keyset readable by world", func(t *testing.T) []string {
			return with(good, "--keyset-file", r.chmod(r.newKeyset("open.json"), 0o644))
		}, []string{"--keyset-file", "chmod 600"}},
		{"no keyset", func(*testing.T) []string { return with(good, "--keyset-file", r.write("text", "hello")) }, []string{"--keyset-file", "is no keyset"}},
		{"missing token file", func(*testing.T) []string { return with(good, "--token-file", r.path("none")) }, []string{"--token-file", "none"}},
		{"token readable by group", func(t *testing.T) []string {
			return with(good, "--token-file", r.chmod(r.write("open-token", "x"), 0o640))
		}, []string{"--token-file", "chmod 600"}},
		{"empty token", func(*testing.T) []string { return with(good, "--token-file", r.write("empty", "\n")) }, []string{"--token-file", "is empty"}},
		{"wrong token", func(*testing.T) []string { return with(good, "--token-file", r.write("wrong", "s3cret-but-wrong")) }, []string{"--token-file", "refuses the token", "default"}},
		{"token that no header may have", func(*testing.T) []string { return with(good, "--token-file", r.write("odd", "s3cret é")) }, []string{"--token-file", "no header may have"}},
		{"journal in a folder that is not there", func(*testing.T) []string { return with(good, "--journal-url", "sqlite:"+r.path("no/journal.db")) }, []string{"--journal-url", "does not exist"}},
		{"journal is a folder", func(*testing.T) []string { return with(good, "--journal-url", "sqlite:"+r.dir) }, []string{"--journal-url", "not a regular file"}},
		{"journal in a read-only folder", func(t *testing.T) []string {
			return with(good, "--journal-url", "sqlite:"+r.readOnlyFolder()+"/journal.db")
		}, []string{"--journal-url", "read-only"}},
		{"read-only journal", func(t *testing.T) []string {
			return with(good, "--journal-url", "sqlite:"+r.chmod(r.write("ro.db", ""), 0o400))
		}, []string{"--journal-url", "read-only"}},
		{"another file as journal", func(*testing.T) []string {
			return with(good, "--journal-url", "sqlite:"+r.write("text.db", strings.Repeat("not a database ", 100)))
		}, []string{"--journal-url", "not an SQLite file"}},
		{"another program's database", func(t *testing.T) []string { return with(good, "--journal-url", "sqlite:"+r.foreignDatabase()) }, []string{"--journal-url", "another program's"}},
		{"listener in use", func(t *testing.T) []string { return with(good, "--listen", strings.TrimPrefix(r.api.URL, "http://")) }, []string{"--listen", "in use"}},
		{"deadline above the lease", func(*testing.T) []string { return append(slices.Clone(good), "--request-deadline", "2m") }, []string{"--request-deadline", "--lease"}},
		{"quiet period below the slack", func(*testing.T) []string { return append(slices.Clone(good), "--quiet-period", "1s") }, []string{"--quiet-period", "--slack"}},
		{"tokens checked without a pause", func(*testing.T) []string { return append(slices.Clone(good), "--verify-every", "30s") }, []string{"--verify-every", "must be 0s, or a time"}},
		{"an inbox that is forgotten at once", func(*testing.T) []string { return append(slices.Clone(good), "--inbox-retention", "1h") }, []string{"--inbox-retention", "must be 0s, or a time"}},
		{"SASL without a password", func(*testing.T) []string {
			return append(slices.Clone(good), "--kafka-sasl-mechanism", "plain", "--kafka-username", "u")
		}, []string{"--kafka-password-file"}},
		{"a certificate without TLS", func(*testing.T) []string { return append(slices.Clone(good), "--kafka-ca-file", "x") }, []string{"--kafka-ca-file", "--kafka-tls"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			args := tc.args(t)
			if i := slices.Index(args, "--journal-url"); args[i+1] == "sqlite:"+r.path("journal.db") {
				args = with(args, "--journal-url", "sqlite:"+t.TempDir()+"/journal.db")
			}
			began := time.Now()
			code, out, errs := r.command(append([]string{"run"}, args...)...)
			if code != exitFailed || out != "" {
				t.Errorf("exit status %d\n%s%s", code, out, errs)
			}
			last := lastLine(errs)
			for _, want := range tc.want {
				if !strings.Contains(last, want) {
					t.Errorf("the last line has no %q: %s", want, last)
				}
			}
			if strings.Contains(errs, "s3cret") {
				t.Errorf("a secret is told:\n%s", errs)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	t.Cleanup(func() {
		for _, q := range r.sandbox.Requests() {
			if q.Operation != "check" {
				t.Errorf("a start that failed has sent a request: %+v", q)
			}
		}
	})
}

// What a journal knows is held against the settings of the next start.
func TestStartIsRefusedByTheJournal(t *testing.T) {
	c := kafkatest.Embedded(t)
	r := newRig(t, c, calm())
	w := r.start()
	refused := func(name string, args []string, want ...string) {
		t.Helper()
		code, _, errs := r.command(append([]string{"run"}, args...)...)
		for _, word := range want {
			if !strings.Contains(lastLine(errs), word) {
				t.Errorf("%s: the last line has no %q: %s", name, word, lastLine(errs))
			}
		}
		if code != exitFailed {
			t.Errorf("%s: exit status %d", name, code)
		}
	}
	refused("held", r.service(), "--journal-url", "another worker")
	refused("another journal in the group", with(r.service(), "--journal-url", "sqlite:"+r.path("second.db")), "group")
	if code := w.end(); code != exitDone {
		t.Fatalf("exit status %d", code)
	}
	refused("another keyset", with(r.service(), "--keyset-file", r.newKeyset("other.json")), "--keyset-file", "does not fit the journal", "restore your copy")
	refused("a lost keyset", with(r.service(), "--keyset-file", r.path("lost.json")), "--keyset-file", "does not exist", "restore your copy")
	refused("a damaged keyset", with(r.service(), "--keyset-file", r.write("damaged.json", "{")), "--keyset-file", "is damaged", "restore your copy")
	for _, command := range []string{"run", "check"} {
		if _, out, errs := r.command(append([]string{command}, with(r.service(), "--keyset-file", r.path("lost.json"))...)...); strings.Contains(out+errs, "keys create") {
			t.Errorf("%s of a lost keyset advises keys create: %s%s", command, out, errs)
		}
	}
	refused("another partner id", with(r.service(), "--partner-id", "11111111-1111-1111-1111-111111111111"), "--partner-id", "default")
	r.sqlExec("journal.db", "UPDATE goose_db_version SET version_id = 9999 WHERE id = (SELECT max(id) FROM goose_db_version)")
	refused("newer", r.service(), "--journal-url", "newer version")
	if code, _, errs := r.command(append([]string{"operations", "list"}, r.beside()...)...); code != exitFailed || !strings.Contains(errs, "newer") {
		t.Errorf("operations list on a newer journal: %d %s", code, errs)
	}
}

// A first run over topics that hold records needs a word where to begin.
func TestFirstRunNeedsAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.selected("s1", "a@b.example")
	args := r.service()
	i := slices.Index(args, "--start")
	args = slices.Delete(args, i, i+2)
	code, _, errs := r.command(append([]string{"run"}, args...)...)
	if code != exitFailed || !strings.Contains(lastLine(errs), "--start") || strings.Count(errs, "consumer: ") != 1 {
		t.Errorf("exit status %d: %s", code, lastLine(errs))
	}
	if n := len(r.sandbox.Effects().Invitations); n != 0 {
		t.Errorf("%d shops were invited", n)
	}
	// No empty journal is left behind, and check foresees the refusal.
	if found, err := filepath.Glob(r.path("journal.db*")); err != nil || len(found) != 0 {
		t.Errorf("left behind: %q, %v", found, err)
	}
	if code, out, _ := r.command(append([]string{"check"}, args...)...); code != exitFailed || !strings.Contains(out, "group        failed") || !strings.Contains(out, "--start to earliest, latest or a time") {
		t.Errorf("check: exit status %d\n%s", code, out)
	}
	if code, _, _ := r.command(append([]string{"run"}, with(args, "--kafka-brokers", noListener)...)...); code != exitFailed {
		t.Errorf("without Kafka: exit status %d", code)
	}
	if found, err := filepath.Glob(r.path("journal.db*")); err != nil || len(found) != 0 {
		t.Errorf("left behind without Kafka: %q, %v", found, err)
	}
}

// A keyset that is made beside a journal of another keyset does not open it.
func TestKeysCreateBesideAJournal(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	if out := r.must("keys", "create", "--keyset-file", r.path("first.json"), "--journal-url", r.journal); strings.Contains(out, "Warning") {
		t.Errorf("without a journal:\n%s", out)
	}
	r.start().end()
	if out := r.must("keys", "create", "--keyset-file", r.path("second.json"), "--journal-url", r.journal); !strings.Contains(out, "Warning: the journal "+r.journal+" was sealed with another keyset") {
		t.Errorf("beside a journal:\n%s", out)
	}
	if out := r.must("keys", "create", "--keyset-file", r.path("third.json"), "--journal-url", r.journal, "--output", "json"); !strings.Contains(out, `"warning": "the journal`) {
		t.Errorf("beside a journal:\n%s", out)
	}
}

func TestCheckCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	service := with(r.service(), "--maximum-age", "168h") // as long as the topics keep records
	code, out, errs := r.command(append([]string{"check"}, service...)...)
	if code != exitDone || strings.Contains(out, "failed") || !strings.Contains(out, "does not exist yet") {
		t.Errorf("before the first run: %d\n%s%s", code, out, errs)
	}
	if _, err := os.Stat(r.path("journal.db")); err == nil {
		t.Error("check has made a journal")
	}
	w := r.start()
	before := r.sandbox.Effects().Requests
	await(t, "check finds nothing wrong beside the service", func() bool {
		code, out, _ := r.command(append([]string{"check"}, service...)...)
		return code == exitDone && !warns(out) && strings.Contains(out, "a worker runs") && strings.Contains(out, "account default is open")
	})
	if sent := r.sandbox.Effects().Requests - before; sent != 0 {
		t.Errorf("check sent %d requests beside a service", sent)
	}
	w.end()
	if code, out, errs := r.command(append([]string{"check"}, service...)...); code != exitDone || warns(out) {
		t.Errorf("after the service: %d\n%s%s", code, out, errs)
	}
	if code, out, _ := r.command(append([]string{"check"}, with(with(service, "--requests-per-window", "2"), "--window", "1h")...)...); code != exitDone || !strings.Contains(out, "no request is left") {
		t.Errorf("with nothing left in the window: %d\n%s", code, out)
	}
	// A copy of the journal is told as what it is.
	r.must("journal", "backup", r.path("copy.db"), "--journal-url", "sqlite:"+r.path("journal.db"))
	if code, out, _ := r.command(append([]string{"check"}, with(service, "--journal-url", "sqlite:"+r.path("copy.db"))...)...); code != exitFailed || !strings.Contains(out, "journal recover") {
		t.Errorf("a copy: %d\n%s", code, out)
	}
	if _, out, _ := r.command(append([]string{"check", "--output", "json"}, service...)...); !strings.Contains(out, `"check": "topics",
    "result": "ok"`) {
		t.Errorf("for programs:\n%s", out)
	}
	for flag, want := range map[string]string{"--drain-time=1s": "limits       warning  --drain-time 1s is shorter", "--maximum-age=169h": "topics       warning  "} {
		if code, out, _ := r.command(append(append([]string{"check"}, service...), flag)...); code != exitDone || !strings.Contains(out, want) {
			t.Errorf("%s: %d\n%s", flag, code, out)
		}
	}
	for name, c := range map[string]struct{ flag, value, want string }{
		"token":  {"--token-file", r.write("wrong", "wrong"), "refuses the token"},
		"kafka":  {"--kafka-brokers", noListener, "cannot be reached"},
		"keyset": {"--keyset-file", r.newKeyset("other.json"), "does not fit"},
		"api":    {"--invoicebox-url", "http://" + noListener, "cannot be reached"},
	} {
		code, out, _ := r.command(append([]string{"check"}, with(service, c.flag, c.value)...)...)
		if code != exitFailed || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d\n%s", name, code, out)
		}
	}
}

// warns reports whether check warns of anything but the machine's slow disk.
func warns(out string) bool {
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "warning" && fields[0] != "commit" {
			return true
		}
	}
	return false
}

func TestTopicsCreate(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		args := []string{"topics", "create", "--kafka-brokers", strings.Join(c.Brokers(), ","), "--partitions", "2"}
		prefix := c.NewTopic(t, "prefix", 1) // no other test has it
		names := slices.Concat(schemas.InputTypes(), schemas.OutputTypes())
		for _, name := range names {
			args = append(args, "--topic", name+"="+prefix+"."+name)
		}
		r := &rig{t: t}
		if out := r.must(append(args, "--dry-run")...); strings.Count(out, "would be created") != len(names) {
			t.Errorf("dry run:\n%s", out)
		}
		if out := r.must(args...); strings.Count(out, "created") != len(names) {
			t.Errorf("first:\n%s", out)
		}
		if out := r.must(append(args, "--output", "json")...); strings.Count(out, `"exists"`) != len(names) || strings.Count(out, `"partitions": 2`) != len(names) {
			t.Errorf("second:\n%s", out)
		}
	})
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		want int
		args []string
	}{
		{exitUsage, nil}, {exitUsage, []string{"bogus"}}, {exitUsage, []string{"run", "--bogus"}}, {exitUsage, []string{"run", "extra"}},
		{exitUsage, []string{"run", "--window"}}, {exitUsage, []string{"resolve"}}, {exitUsage, []string{"resolve", "x"}}, {exitUsage, []string{"shops"}},
		{exitUsage, []string{"operations", "list", "--output", "xml"}}, {exitUsage, []string{"topics", "create", "--partitions", "0", "--kafka-brokers", "a:1"}},
		{exitFailed, []string{"run"}}, {exitFailed, []string{"run", "--window", "5"}},
		{exitFailed, []string{"run", "--drain-time=-1s"}}, {exitFailed, []string{"run", "--drain-time", "-1s"}}, {exitFailed, []string{"run", "--concurrency", "-1"}},
		{exitUsage, []string{"run", "--window", "--bogus"}}, {exitFailed, []string{"keys", "create"}},
		{exitDone, []string{"version"}}, {exitDone, []string{"--help"}}, {exitDone, []string{"run", "--help"}}, {exitDone, []string{"operations", "list", "--help"}},
	} {
		if code, _, errs := execute(t.Context(), c.args...); code != c.want || (code != exitDone) != (errs != "") {
			t.Errorf("%q: exit status %d, want %d: %s", c.args, code, c.want, errs)
		}
	}
}

func lastLine(text string) string {
	i := strings.LastIndex(text, "\ninvoicebox-worker: ")
	return text[i+1:]
}

// topicFlag names another topic for an event whose topic the rig names already:
// a list in one flag, which replaces the first of them.
func topicFlag(r *rig, name, topic string) string {
	flag := name + "=" + topic
	for other, t := range r.topics {
		if other != name {
			flag += "," + other + "=" + t
		}
	}
	return flag
}

// noListener is an address at which nothing listens. A port that was free a moment ago can
// be in use by another test.
const noListener = "127.0.0.1:1"

// silentServer takes connections and says nothing.
func silentServer(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ctx.Done() }))
	t.Cleanup(func() { cancel(); s.CloseClientConnections(); s.Close() })
	return strings.TrimPrefix(s.URL, "http://")
}

func (r *rig) newKeyset(name string) string {
	r.t.Helper()
	if _, err := os.Stat(r.path(name)); err != nil {
		r.must("keys", "create", "--keyset-file", r.path(name))
	}
	return r.path(name)
}

func (r *rig) chmod(path string, mode os.FileMode) string {
	r.t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *rig) readOnlyFolder() string {
	r.t.Helper()
	if err := os.MkdirAll(r.path("ro"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = os.Chmod(r.path("ro"), 0o700) }) // #nosec G302 -- a folder
	return r.chmod(r.path("ro"), 0o500)
}

func (r *rig) foreignDatabase() string {
	r.t.Helper()
	r.sqlExec("foreign.db", "CREATE TABLE other (x)")
	r.chmod(r.path("foreign.db"), 0o600)
	return r.path("foreign.db")
}

func (r *rig) sqlExec(name, statement string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.path(name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(r.t.Context(), statement); err != nil {
		r.t.Fatal(err)
	}
}
