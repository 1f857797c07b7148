package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// Acts that commands ask for beside the worker, which dies in the middle of
// performing them: the next one goes on with what the dead one left, and each
// act has happened once.
func TestService_ActsOverACrash(t *testing.T) {
	const shops = 40
	s := newService(t, calm())
	s.start()
	for i := range shops {
		s.ingest(s.event(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("e", i), fmt.Sprint("broken-json-", i)))
		if i%2 == 1 { // three in a row would pause the account
			s.settle(20 * time.Second)
			s.ingest(s.event(journal.Activate, fmt.Sprint("good-", i), fmt.Sprint("g", i), fmt.Sprint("good-", i)))
			s.settle(20 * time.Second)
		}
	}
	inAttention := func(st journal.Stats) int64 { return states(st)[journal.Attention] }
	s.await("all in attention", func(st journal.Stats) bool { return inAttention(st) == shops })

	beside, err := sqlite.Open(t.Context(), sqlite.Options{Path: s.path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	ops, err := beside.Operations(t.Context(), journal.OperationFilter{State: journal.Attention, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	token := s.box.TokenOf("broken-json-0")
	for _, o := range ops {
		i := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: string(onboarding.ActionClose), Account: o.Shop.Account, Operation: o.UUID}
		if o.Shop.Shop == "shop-0" {
			i.Act, i.MerchantID = string(onboarding.ActionSetCredentials), s.box.MerchantOf("broken-json-0")
			if err := engine.SealEntered(s.keys, &i, o.Shop, secret.New(token)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time it is refused
			if i.MAC, err = s.keys.Authenticate(keyset.DomainIntent, i.Authentic()...); err != nil {
				t.Fatal(err)
			}
			if err := beside.AppendIntent(t.Context(), i, journal.AuditEntry{Actor: i.Actor, Act: i.Act + ".asked", Subject: o.UUID.String()}); err != nil {
				t.Fatal(err)
			}
			i.UUID, i.Act, i.MerchantID, i.Sealed = uuid.New(), string(onboarding.ActionClose), "", nil
		}
	}
	s.await("some were performed", func(st journal.Stats) bool { return inAttention(st) < shops })
	image := s.image()
	if err := beside.Close(); err != nil {
		t.Fatal(err)
	}
	s.finish()
	s.path = image
	s.start()
	s.await("none in attention", func(st journal.Stats) bool { return inAttention(st) == 0 })
	var all []journal.Intent
	for end := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if all, err = s.j.Intents(t.Context(), journal.IntentFilter{Limit: 1000}); err != nil {
			t.Fatal(err)
		}
		open := 0
		for _, i := range all {
			if i.State == journal.IntentWaiting {
				open++
			}
		}
		if open == 0 || time.Now().After(end) {
			break
		}
	}
	results := map[string]int{}
	for _, i := range all {
		results[i.Act+" "+i.Result]++
	}
	if fmt.Sprint(results) != fmt.Sprintf("map[close closed:%d close moved_on:%d set-credentials activated:1]", shops-1, shops) {
		t.Errorf("the acts ended as %v", results)
	}
	seen := map[string]int{}
	for _, e := range s.published() {
		switch d := e.Data.(type) {
		case schemas.ActivationFailed:
			seen[fmt.Sprint(d.Reason, " ", e.Subject)]++
		case schemas.Activated:
			if strings.HasPrefix(e.Subject, "good-") {
				continue
			}
			seen["activated "+e.Subject]++
			if !s.resolves(d, "broken-json-0") {
				t.Error("the reference does not resolve to the token that was entered")
			}
		}
	}
	for i := range shops {
		want := fmt.Sprint("closed shop-", i)
		if i == 0 {
			want = "activated shop-0"
		}
		if unreadable := fmt.Sprint("answer_unreadable shop-", i); seen[want] != 1 || seen[unreadable] != 1 {
			t.Errorf("%s %d times, %s %d times", want, seen[want], unreadable, seen[unreadable])
		}
	}
	if len(seen) != 2*shops {
		t.Errorf("published %v", seen)
	}
	entries, err := s.j.Audit(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	once := map[string]int{}
	for _, e := range entries {
		once[e.Act+" "+e.Subject]++
		if e.Actor != "anna" {
			t.Errorf("audit: %+v", e)
		}
	}
	for _, o := range ops {
		if once["close.performed "+o.UUID.String()]+once["set-credentials.performed "+o.UUID.String()] != 1 || once["close.refused "+o.UUID.String()] != 1 {
			t.Errorf("the audit of %s: %v", o.Shop.Shop, once)
		}
	}
	s.finish()
	for _, a := range s.box.Effects().Activations {
		if a.Requests != 1 {
			t.Errorf("%s was sent %d times", a.Code, a.Requests)
		}
	}
}

// image copies the files of the journal while it is written: what a dead process
// leaves. The log only grows as long as no checkpoint changes the database.
func (s *service) image() string {
	s.Helper()
	read := func(path string) []byte {
		doc, err := os.ReadFile(path)
		if err != nil {
			s.Fatal(err)
		}
		return doc
	}
	path := filepath.Join(s.TempDir(), "crash.db")
	for range 100 {
		before := read(s.path)
		log := read(s.path + "-wal")
		if !bytes.Equal(before, read(s.path)) {
			continue
		}
		for name, doc := range map[string][]byte{path: before, path + "-wal": log} {
			if err := os.WriteFile(name, doc, 0o600); err != nil {
				s.Fatal(err)
			}
		}
		return path
	}
	s.Fatal("the database never stands still")
	return ""
}
