package main

import (
	"encoding/json"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A shop is disconnected over a running service, its secret is destroyed, and a new code
// connects it again.
func TestShopsDisconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--destroy-after", "3s")
	r.entered("s1", "code-1")
	ref := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated).Credentials.Ref
	tell := func(want int, words string, args ...string) string {
		t.Helper()
		code, out, errs := r.command(append(args, r.beside()...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, words, out, errs)
		}
		return out
	}
	tell(exitUsage, "--reason", "shops", "disconnect", "s1", "--reason", "two\nlines")
	tell(exitFailed, `nothing is known of shop "nobody" in account "default"`, "shops", "disconnect", "nobody")
	tell(exitFailed, `nothing is known of shop "s1" in account "second"`, "shops", "disconnect", "s1", "--account", "second")
	out := tell(exitDone, "", "shops", "disconnect", "s1", "--actor", "anna", "--reason", "ticket 7", "--output", "json")
	if i := actionOf(t, out); i.State != "performed" || i.Result != "disconnected" || i.Action != "disconnect" || i.Shop != "s1" || i.Account != "default" || i.Operation != "" {
		t.Errorf("the action is %+v", i)
	}
	if e := r.results(schemas.TypeDisconnected, 1)[0]; e.Subject != "s1" || e.Data.(schemas.Disconnected).DestroyAfter.IsZero() {
		t.Errorf("the event is %+v", e)
	}
	tell(exitFailed, "The shop has no credentials in use", "shops", "disconnect", "s1")
	tell(exitDone, "disconnected", "shops", "list", "--stage", "disconnected")
	tell(exitDone, "no shops", "shops", "list", "--stage", "active")
	var shop shopJSON
	if err := json.Unmarshal([]byte(tell(exitDone, "", "shops", "show", "s1", "--output", "json")), &shop); err != nil || shop.DisconnectedAt == nil || shop.Active != nil {
		t.Errorf("the shop is %+v, %v", shop, err)
	}
	await(t, "destroyed", func() bool { return strings.Contains(r.audit(), " credentials.destroyed default/s1 "+ref) })
	tell(exitFailed, "they were destroyed", "resolve", ref)
	if trail := r.audit(); !strings.Contains(trail, "anna disconnect.performed default/s1 disconnected") || !strings.Contains(trail, "anna disconnect.asked default/s1 ticket 7") {
		t.Errorf("the audit trail is\n%s", trail)
	}
	r.send(schemas.TypeCodeEntered, "another-code", "s1", `{"shopId":"s1","activationCode":"code-2"}`)
	newer := r.results(schemas.TypeActivated, 2)[1].Data.(schemas.Activated).Credentials.Ref
	tell(exitDone, r.sandbox.TokenOf("code-2"), "resolve", newer)
	tell(exitDone, "no shops", "shops", "list", "--stage", "disconnected")
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}

// An installation that lacks the topic of disconnected shops works. The event of a shop
// that is disconnected all the same waits, delays no other, and is published when the
// topic exists.
func TestShopsDisconnect_TopicIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.topics[schemas.TypeDisconnected] = "late"
	code, out, errs := r.command(append([]string{"check"}, r.service()...)...)
	if code != exitDone || !strings.Contains(out, "kafka has no topic late") {
		t.Errorf("exit status %d\n%s%s", code, out, errs)
	}
	w := r.start()
	if !strings.Contains(w.log.String(), "kafka has no topic late") {
		t.Error("the log does not name the topic")
	}
	r.entered("s1", "code-1")
	r.results(schemas.TypeActivated, 1)
	r.must(append([]string{"shops", "disconnect", "s1", "--reason", "ticket 7"}, r.beside()...)...)
	r.entered("s2", "code-2")
	r.results(schemas.TypeActivated, 2)
	if err := r.cluster.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: "late", NumPartitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	if e := r.results(schemas.TypeDisconnected, 1)[0]; e.Subject != "s1" {
		t.Errorf("the event is %+v", e)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}
