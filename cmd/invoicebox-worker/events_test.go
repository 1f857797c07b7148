package main

import (
	"bytes"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// The current result of a shop is published again: the same id and the same bytes.
func TestResultIsReissued(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	defer w.end()
	r.selected("s1", "a@b.example")
	r.results(schemas.TypeInvited, 1)
	r.entered("s1", "143232423434")
	activated := r.results(schemas.TypeActivated, 1)[0]

	reissue := func(want int, words string, args ...string) {
		t.Helper()
		code, out, errs := r.command(append(append([]string{"events", "reissue"}, args...), r.beside()...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%q: exit status %d, %s%s", args, code, out, errs)
		}
	}
	reissue(exitDone, "reissued", "s1", "--reason", "billing lost it")
	both := r.cluster.Await(t, r.topics[schemas.TypeActivated], 2)
	if !bytes.Equal(both[0].Value, both[1].Value) || !bytes.Equal(both[0].Key, both[1].Key) || len(both[0].Headers) != len(both[1].Headers) {
		t.Errorf("the events differ:\n%s\n%s", both[0].Value, both[1].Value)
	}
	for i, h := range both[0].Headers {
		if other := both[1].Headers[i]; h.Key != other.Key || !bytes.Equal(h.Value, other.Value) {
			t.Errorf("header %s is %q, then %q", h.Key, h.Value, other.Value)
		}
	}
	invitation := r.results(schemas.TypeInvited, 1)[0].OperationID
	reissue(exitDone, "reissued", invitation)
	r.results(schemas.TypeInvited, 2)
	if again := r.results(schemas.TypeActivated, 2); again[1].ID != activated.ID || len(again) != 2 {
		t.Errorf("%d results, ids %s and %s", len(again), activated.ID, again[1].ID)
	}
	reissue(exitFailed, "no result of shop", "nobody")
	out := r.must(append([]string{"audit", "list"}, r.beside()...)...)
	for _, words := range []string{"reissue.asked", "reissue.performed", "billing lost it"} {
		if !strings.Contains(out, words) {
			t.Errorf("the audit trail lacks %q:\n%s", words, out)
		}
	}
}
