package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// smallJournal makes a file as a worker leaves it.
func smallJournal(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(j.EnsureAccount(t.Context(), "default", "partner"))
	ok(j.InitPositions(t.Context(), []journal.Position{{Topic: schemas.TypeProviderSelected}}))
	b := journal.Batch{Topic: schemas.TypeProviderSelected, Next: 5}
	for i := range 5 {
		b.Events = append(b.Events, journaltest.MakeEvent(t, keys, journal.Invite, journal.ShopKey{Account: "default", Shop: fmt.Sprint("s", i)}, fmt.Sprint("e", i), "a@x.test", time.Now()))
		b.Events[i].Offset = int64(i)
	}
	_, err = j.Ingest(t.Context(), b)
	ok(err)
	ok(j.Close())
	return path
}

const markPassword = "mArk-pass/w0rd"

func TestJournalCopy(t *testing.T) {
	server := pgtest.Start(t)
	withPassword := func(address string) string {
		t.Helper()
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("test", markPassword)
		return u.String()
	}
	t.Setenv("PGPASSWORD", markPassword)
	path, address := smallJournal(t), server.Database(t, "")
	type step struct {
		args []string
		code int
		word string
	}
	copies := func(more ...string) []string { return append([]string{"journal", "migrate"}, more...) }
	from := "sqlite:" + path
	try := func(s step) string {
		t.Helper()
		code, out, errs := execute(t.Context(), s.args...)
		if code != s.code || !strings.Contains(out+errs, s.word) {
			t.Errorf("%q: exit status %d, %q not in:\n%s%s", s.args[2:], code, s.word, out, errs)
		}
		for _, secret := range []string{markPassword, url.QueryEscape(markPassword), url.PathEscape(markPassword)} {
			if strings.Contains(out+errs, secret) {
				t.Errorf("%q: the password is in:\n%s%s", s.args[2], out, errs)
			}
		}
		if code == exitDone {
			for _, table := range []string{"account", "operation", "audit"} {
				for _, verb := range []string{"copying ", "comparing "} {
					if !strings.Contains(errs, verb+table+": ") {
						t.Errorf("%q: no progress of %s%s in:\n%s", s.args[2:], verb, table, errs)
					}
				}
			}
		}
		return out
	}
	for _, s := range []step{
		{copies("--to", address), exitUsage, "--from"},
		{copies("--from", from), exitUsage, "--to"},
		{copies("--from", address, "--to", address), exitFailed, ": must be sqlite:"},
		{copies("--from", withPassword(address), "--to", address), exitFailed, ": must be sqlite:"},
		{copies("--from", from, "--to", "sqlite:"+path), exitFailed, ": must be postgres://"},
		{copies("--from", from, "--to", withPassword(address)), exitFailed, "must hold no password"},
		{copies("--from", from, "--to", "postgres://test@127.0.0.1:1/none?connect_timeout=2"), exitFailed, "cannot be reached"},
		{copies("--from", from, "--to", "postgres://test:"+url.QueryEscape(markPassword)+"@[::1/none"), exitFailed, ": must hold no password"},
		{copies("--from", "sqlite:"+filepath.Join(t.TempDir(), "none.db"), "--to", address), exitFailed, "no such file"},
	} {
		try(s)
	}
	out := try(step{copies("--from", from, "--to", address, "--output", "json"), exitDone, ""})
	var got migrationJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	// Of each event the event, shop, operation and its body; account, topic, position.
	if got.Rows != 5*3+3 || got.Resumed || got.Waits || got.Restarted || len(got.Tables) != len(move.Tables()) || !strings.HasPrefix(got.To, "postgres://127.0.0.1:") {
		t.Errorf("it says %+v", got)
	}
	for _, s := range []step{
		{copies("--from", from, "--to", address), exitFailed, "moved to another database"},
		{copies("--from", "sqlite:"+smallJournal(t), "--to", address), exitFailed, "holds a journal already"},
		{[]string{"operations", "list", "--journal-url", from}, exitFailed, "moved to another database"},
		{[]string{"journal", "backup", filepath.Join(t.TempDir(), "b.db"), "--journal-url", from}, exitFailed, "moved to another database"},
	} {
		try(s)
	}
	try(step{copies("--from", "sqlite:"+smallJournal(t), "--to", server.Database(t, "")), exitDone, "the journal is in postgres://"})
	// What a worker finds there.
	j, err := postgres.Open(t.Context(), postgres.Options{URL: address, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	os, err := j.Operations(t.Context(), journal.OperationFilter{Limit: 10})
	if err != nil || len(os) != 5 {
		t.Errorf("the target has %d operations: %v", len(os), err)
	}
}

// A moved journal counts the history of windows as long as a setting allows.
func TestNoWindowIsLongerThanACopyCounts(t *testing.T) {
	for _, in := range []reflect.Type{reflect.TypeFor[settings](), reflect.TypeFor[config.Account]()} {
		f, ok := in.FieldByName("Window")
		longest, err := time.ParseDuration(f.Tag.Get("max"))
		if !ok || err != nil || longest > postgres.LongestWindow {
			t.Errorf("%v: the longest window is %v, a copy counts %v: %v", in, longest, postgres.LongestWindow, err)
		}
	}
}
