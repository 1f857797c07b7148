package postgres

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/testutil/pgtest"
)

// What the server, the database or the role say of sessions changes nothing.
func TestSettings(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	others := map[string]string{
		"default_transaction_isolation": "'repeatable read'", "default_transaction_deferrable": "on", "row_security": "on", "enable_seqscan": "on", "plan_cache_mode": "auto", "jit": "on",
		"timezone": "'Europe/Moscow'", "client_encoding": "'SQL_ASCII'", "standard_conforming_strings": "off", "bytea_output": "escape", "array_nulls": "off",
		"idle_in_transaction_session_timeout": "'1h'", "lock_timeout": "'1h'", "statement_timeout": "'1h'", "idle_session_timeout": "'1h'",
		"tcp_keepalives_idle": "7200", "tcp_keepalives_interval": "75", "tcp_keepalives_count": "9",
	}
	for name := range settings {
		if others[name] == "" {
			t.Errorf("%s is set, and this test does not try another default", name)
		}
	}
	for _, scope := range []string{"DATABASE", "ROLE"} {
		t.Run(scope, func(t *testing.T) {
			b := newBed(t, server)
			name := b.database()
			if scope == "ROLE" {
				b.url = strings.Replace(b.url, "test@", "app@", 1)
				server.Exec(t, name, "CREATE ROLE app LOGIN; ALTER DATABASE "+name+" OWNER TO app")
				name = "app"
			}
			for setting, value := range others {
				server.Exec(t, "postgres", "ALTER "+scope+" "+name+" SET "+setting+" = "+value)
			}
			j := b.open()
			for _, conn := range []string{"reader", "writer", "session"} {
				for setting, want := range settings {
					var got string
					read := "SELECT current_setting('" + setting + "')"
					switch conn {
					case "reader":
						b.ok(j.readers.QueryRow(b.Context(), read).Scan(&got))
					case "writer":
						b.ok(j.submit(b.Context(), &steps.Request{Load: func(l *steps.Loader) {
							l.Ask(steps.Ask{Query: steps.Query(read), Each: func(_ []string, values []any) error {
								got = row(values).text(0)
								return nil
							}})
						}, Do: func(*steps.Unit) error { return nil }}))
					case "session":
						c, err := j.dial(b.Context())
						b.ok(err)
						b.ok(c.QueryRow(b.Context(), read).Scan(&got))
						b.ok(c.Close(b.Context()))
					}
					if got != want {
						t.Errorf("%s: %s is %q, want %q", conn, setting, got, want)
					}
				}
			}
		})
	}
	t.Run("a default that only the administrator can set", func(t *testing.T) {
		b := newBed(t, server)
		server.Exec(t, "postgres", "ALTER DATABASE "+b.database()+" SET session_replication_role = 'replica'")
		_, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain})
		if wrong, ok := errors.AsType[*SettingsError](err); !ok || wrong.Name != "session_replication_role" {
			t.Errorf("opening gives %v", err)
		}
	})
	t.Run("read only by default", func(t *testing.T) {
		b := newBed(t, server)
		server.Exec(t, "postgres", "ALTER DATABASE "+b.database()+" SET default_transaction_read_only = on")
		_, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain})
		if !errors.Is(err, journal.ErrUnreachable) || !strings.Contains(err.Error(), "default_transaction_read_only is on") {
			t.Errorf("opening gives %v", err)
		}
	})
}

// Permits are taken after the ledger was locked, with what was committed while
// the lock was waited for, whatever the default of the database is.
func TestIsolation(t *testing.T) {
	server := pgtest.Start(t)
	for _, isolation := range []string{"repeatable read", "serializable", "read committed"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, server)
			server.Exec(t, "postgres", "ALTER DATABASE "+b.database()+" SET default_transaction_isolation = '"+isolation+"'")
			const limit = 20
			js := []*Journal{b.open(), b.open(), b.open()}
			var mu sync.Mutex
			var all sync.WaitGroup
			taken := 0
			for _, j := range slices.Repeat(js, 8) {
				all.Go(func() {
					for range 5 {
						_, err := j.BeginCheck(t.Context(), journal.Check{Account: "default", SendBy: time.Minute, Deadline: time.Hour, Permits: []journal.Permit{permit(limit, time.Hour)}})
						if _, none := errors.AsType[*journal.NoPermitError](err); none {
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						taken++
						mu.Unlock()
					}
				})
			}
			all.Wait()
			if taken != limit {
				t.Errorf("%d permits were given, the limit is %d", taken, limit)
			}
		})
	}
}

// No transaction rests on the default of its session.
func TestTransactionsNameTheirLevel(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found += strings.Count(string(text), "atLevel") + strings.Count(string(text), "Queue(begin)")
		for _, word := range []string{"pgx.BeginFunc(", ".Begin(ctx", "pgx.TxOptions{}", `"BEGIN"`, "BeginTx(ctx, nil"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s: %s begins a transaction at the session's level", file, word)
			}
		}
	}
	if found < 5 {
		t.Errorf("%d transactions were found", found)
	}
	if o := atLevel; o.IsoLevel != pgx.ReadCommitted || !strings.HasSuffix(strings.ToLower(begin), string(o.IsoLevel)) {
		t.Errorf("the levels are %q and %q", begin, o.IsoLevel)
	}
}

// Poolers that share sessions are refused in words; one that does not is as good
// as none.
func TestPoolers(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	ignoring := "ignore_startup_parameters=" + strings.Join(slices.Sorted(maps.Keys(settings)), ",")
	for _, tc := range []struct {
		name     string
		settings []string
		url      string // more of it
		pooled   bool
	}{
		{name: "transaction", settings: []string{"pool_mode=transaction"}, pooled: true},
		{name: "transaction, as drivers are told", settings: []string{"pool_mode=transaction", ignoring}, url: "&default_query_exec_mode=exec", pooled: true},
		{name: "transaction, one session", settings: []string{"pool_mode=transaction", "default_pool_size=1"}, pooled: true},
		{name: "transaction, in turn", settings: []string{"pool_mode=transaction", "server_round_robin=1", "min_pool_size=3"}, pooled: true},
		{name: "transaction, two in turn", settings: []string{"pool_mode=transaction", "server_round_robin=1", "min_pool_size=2", "default_pool_size=2"}, pooled: true},
		{name: "statement", settings: []string{"pool_mode=statement"}, pooled: true},
		{name: "session", settings: []string{"pool_mode=session"}},
		{name: "session, a schema", settings: []string{"pool_mode=session"}, url: "&search_path=own"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			direct := newBed(t, server)
			server.Exec(t, direct.database(), "CREATE SCHEMA own")
			first := direct.open() // the tables are there: nothing else can fail
			direct.ok(first.Close())
			b := *direct
			b.url = server.Pooler(t, direct.database(), tc.settings...) + tc.url
			opens := func(o Options) {
				t.Helper()
				o.URL, o.Planner = b.url, journaltest.Plain
				j, err := Open(t.Context(), o)
				if err == nil {
					b.ok(j.Close())
				}
				if tc.pooled != errors.Is(err, ErrPooled) || !tc.pooled && err != nil {
					t.Errorf("opening with %+v gives %v", o, err)
				}
			}
			if !tc.pooled {
				opens(Options{})
			}
			opens(Options{ReadOnly: true})
			opens(Options{})
			target, err := OpenTarget(t.Context(), Options{URL: b.url})
			if err == nil {
				target.Close()
			}
			if tc.pooled && !errors.Is(err, ErrPooled) || !tc.pooled && err != nil {
				t.Errorf("a copy into it gives %v", err)
			}
			if tc.pooled {
				return
			}
			// Two replicas over it know of each other, and hear of work.
			one, two := b.open(), b.open()
			emptied(two.Changed())
			b.codes(one, 3)
			within(b, two.Changed(), "the other replica was not told of new work")
			os := b.claim(one, journal.Call, 2, time.Hour)
			if planned, unknown, err := two.ReleaseExpiredLeases(b.Context()); planned+unknown > 0 || err != nil {
				t.Errorf("leases of a living replica ended: %d, %d, %v", planned, unknown, err)
			}
			one.vanish()
			b.eventually("its work is not free", func() bool {
				_, _, err := two.ReleaseExpiredLeases(b.Context())
				b.ok(err)
				d, err := two.Operation(b.Context(), os[0].UUID)
				b.ok(err)
				return d.State == journal.Planned
			})
		})
	}
}
