package e2e

import (
	"os"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The journal is lost and there is no copy: an empty one is recovered. No code
// and no address is used again, and every shop is asked for a new code, which
// then works.
func TestRecoveredWithoutACopy(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		t.Parallel()
		r := newRig(t, c, sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1},
			"--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s", "--window", "1s")
		shops := shopNames("shop", 12)
		r.selected(shops...)
		r.entered(shops...)
		w := r.start()
		r.awaitResults(schemas.TypeActivated, len(shops), time.Minute)
		r.awaitResults(schemas.TypeInvited, len(shops), time.Minute)
		if code, _ := w.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		before := r.sandbox.Effects()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(r.path("journal.db" + suffix)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		r.refused("put the copy there first", append([]string{"journal", "recover"}, r.commandFlags()...)...)
		r.refused("journal recover", append([]string{"run", "--listen", "127.0.0.1:0", "--start", "earliest"}, r.commandFlags()...)...)
		r.refused("--start", append([]string{"journal", "recover"}, r.commandFlags()...)...)
		var done recovery
		r.unmarshal(&done, append([]string{"journal", "recover", "--start", "earliest", "--output", "json"}, r.commandFlags()...)...)
		if done.Taken != 2*len(shops) {
			t.Errorf("%d events were taken over, not %d", done.Taken, 2*len(shops))
		}
		r.refused("nothing shows that the journal was restored", append([]string{"journal", "recover"}, r.commandFlags()...)...)
		w = r.start()
		r.awaitResults(schemas.TypeActivationFailed, len(shops), time.Minute)
		await(t, time.Minute, "nothing is left to do", func() bool { return r.idle(w, 2*len(shops)) })
		for _, e := range r.results(schemas.TypeActivationFailed) {
			if d := e.Data.(schemas.ActivationFailed); d.Reason != schemas.FailureCredentialsLost || d.Action != schemas.ActionRequestNewCode {
				t.Errorf("shop %s: %+v", e.Subject, d)
			}
		}
		after := r.sandbox.Effects()
		if len(after.Activations) != len(before.Activations) || len(after.Invitations) != len(before.Invitations) {
			t.Errorf("%d codes and %d addresses were used, %d and %d before", len(after.Activations), len(after.Invitations), len(before.Activations), len(before.Invitations))
		}
		for _, a := range after.Activations {
			if a.Requests != 1 {
				t.Errorf("code %s was sent %d times", a.Code, a.Requests)
			}
		}
		for _, i := range after.Invitations {
			if i.Requests != 1 {
				t.Errorf("address %s was sent %d times", i.Identifier, i.Requests)
			}
		}
		r.judgeRepeats()
	})
}

// The journal is lost, and it was the first store of the shops' tokens; the second ones
// are in OpenBao. The shops keep these, and none is asked for a new code, although the
// store counts from 1 as the lost journal did.
func TestRecoveredWithOpenBao(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1},
		"--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s", "--window", "1s")
	shops := shopNames("shop", 4)
	end := func(w *worker) {
		if code, _ := w.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
	}
	r.entered(shops...)
	w := r.start()
	r.awaitResults(schemas.TypeActivated, len(shops), time.Minute)
	end(w)
	r.extra = append(r.extra, r.inOpenBao(s)...)
	w = r.start()
	var second []kafkago.Message
	for _, shop := range shops {
		if err := r.sandbox.AddCode(sandbox.Code{Code: "second-" + shop, MerchantID: r.sandbox.MerchantOf(codeOf(shop)), Token: secondToken + shop}); err != nil {
			t.Fatal(err)
		}
		m := event(schemas.TypeCodeEntered, shop, `{"shopId":"`+shop+`","activationCode":"second-`+shop+`"}`)
		m.Headers[1].Value = []byte("second/" + shop)
		second = append(second, m)
	}
	r.cluster.Produce(t, r.topics[schemas.TypeCodeEntered], second)
	r.awaitResults(schemas.TypeActivated, 2*len(shops), time.Minute)
	end(w)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(r.path("journal.db" + suffix)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	r.refused("journal recover", append([]string{"run", "--listen", "127.0.0.1:0", "--start", "earliest"}, r.commandFlags()...)...)
	var done recovery
	r.unmarshal(&done, append([]string{"journal", "recover", "--start", "earliest", "--output", "json"}, r.commandFlags()...)...)
	if done.Taken != 2*len(shops) || len(done.Orphans) != 0 {
		t.Errorf("%+v", done)
	}
	w = r.start()
	await(t, time.Minute, "nothing is left to do", func() bool { return r.idle(w, 2*len(shops)) })
	end(w)
	if failed := r.results(schemas.TypeActivationFailed); len(failed) != 0 {
		t.Errorf("%d losses were published: %+v", len(failed), failed[0].Data)
	}
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	for _, shop := range shops {
		row, err := j.PublishedCredential(t.Context(), journal.ShopKey{Account: "default", Shop: shop})
		ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: baotest.Mount, Account: "default", Shop: shop, Version: 1}
		if err != nil || row.Reference != ref.String() || row.Version != 2 || row.MerchantID != r.sandbox.MerchantOf(codeOf(shop)) {
			t.Errorf("the current credentials of %s are version %d, %q: %v", shop, row.Version, row.Reference, err)
		}
	}
}

// The journal is lost and given up on purpose: no sequence and no version of the
// lost one is used again, and the flag lets no later loss pass.
func TestForgottenJournal(t *testing.T) {
	t.Parallel()
	c := kafkatest.Embedded(t)
	r := newRig(t, c, sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1},
		"--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s", "--window", "1s")
	lose := func() {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(r.path("journal.db" + suffix)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	run := func(flags ...string) []string {
		return append(append([]string{"run", "--listen", "127.0.0.1:0"}, r.commandFlags()...), flags...)
	}
	shops := shopNames("shop", 2)
	r.entered(shops...)
	w := r.start()
	r.awaitResults(schemas.TypeActivated, len(shops), time.Minute)
	if code, _ := w.terminate(40 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	lose()
	r.refused("journal recover", run("--start", "latest")...)
	id := identityOf(t, r)
	r.refused("--forget-journal "+id, run("--start", "latest")...)
	r.refused("names another journal", run("--start", "latest", "--forget-journal", "2f6b2b8e-6a57-4a0e-9c66-0a4b1e7d9a10")...)
	before := time.Now().UnixMilli()
	w = r.start("--start", "latest", "--forget-journal", id)
	r.awaitResults(schemas.TypeActivated, len(shops), time.Second)
	r.send(schemas.TypeCodeEntered, shops, func(shop string) string {
		return `{"shopId":"` + shop + `","activationCode":"second-` + shop + `"}`
	})
	r.awaitResults(schemas.TypeActivated, 2*len(shops), time.Minute)
	above := 0
	for _, e := range r.results(schemas.TypeActivated) {
		if v := e.Data.(schemas.Activated).Credentials.Version; v > before && e.Sequence > before {
			above++
		} else if v != 1 || e.Sequence > 2 {
			t.Errorf("shop %s: version %d, sequence %d", e.Subject, v, e.Sequence)
		}
	}
	if above != len(shops) {
		t.Errorf("%d activations are above the old range, not %d", above, len(shops))
	}
	if code, _ := w.terminate(40 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	lose()
	r.refused("journal recover", run("--start", "latest", "--forget-journal", id)...)
}

// A new journal with a group of its own, over result topics that another one has
// written: no sequence and no version is used again.
func TestNewGroupOverUsedResults(t *testing.T) {
	t.Parallel()
	c := kafkatest.Embedded(t)
	r := newRig(t, c, sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1},
		"--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s", "--window", "1s")
	r.entered("shop")
	w := r.start()
	r.awaitResults(schemas.TypeActivated, 1, time.Minute)
	if code, _ := w.terminate(40 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(r.path("journal.db" + suffix)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	r.group += "-other"
	before := time.Now().UnixMilli()
	r.start("--start", "latest")
	r.send(schemas.TypeCodeEntered, []string{"shop"}, func(string) string { return `{"shopId":"shop","activationCode":"second"}` })
	r.awaitResults(schemas.TypeActivated, 2, time.Minute)
	for i, e := range r.results(schemas.TypeActivated) {
		if v := e.Data.(schemas.Activated).Credentials.Version; (v > before) != (i > 0) || (e.Sequence > before) != (i > 0) {
			t.Errorf("event %d has version %d and sequence %d", i, v, e.Sequence)
		}
	}
}

func identityOf(t *testing.T, r *rig) string {
	t.Helper()
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: r.path("journal.db"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	return j.Identity().String()
}
