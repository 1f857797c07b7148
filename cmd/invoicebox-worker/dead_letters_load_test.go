package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

var (
	replayLetters = flag.Int("replay.letters", 200, "how many dead letters TestReplayBesideWork takes again")
	replayRate    = flag.Int("replay.rate", 100, "how many of them in a second")
)

// Dead letters are taken again at a rate, over a restart of the worker, while other shops
// are invited: no shop is invited twice, the rate is kept, and the others do not wait.
func TestReplayBesideWork(t *testing.T) {
	t.Parallel()
	const others = 10
	o := twoAccounts()
	o.RequestsPerWindow, o.EgressPerWindow = -1, -1
	r := newRig(t, kafkatest.Embedded(t), o)
	unlimited := []string{"--requests-per-window", "1000000", "--egress-requests-per-window", "1000000"}
	w := r.start(unlimited...)
	var records []kafkago.Message
	for i := range *replayLetters {
		shop := fmt.Sprint("again-", i)
		records = append(records, kafkago.Message{Key: []byte(shop), Value: fmt.Appendf(nil, `{"shopId":%q,"provider":"invoicebox","email":"%s@shop.example","partnerAccount":"second"}`, shop, shop)})
	}
	for part := range slices.Chunk(records, 500) {
		r.cluster.Produce(t, r.topics[schemas.TypeProviderSelected], part)
	}
	r.results(schemas.TypeDeadLetter, *replayLetters)
	w.end()

	r.configureBoth()
	if v := r.replay("--all", "--rate", fmt.Sprintf("%d/s", *replayRate)); v.Asked != *replayLetters {
		t.Fatalf("asked for %d", v.Asked)
	}
	w = r.start(unlimited...)
	var delays []time.Duration
	for i := range others {
		if i == others/2 {
			w.end()
			w = r.start(unlimited...)
		}
		delays = append(delays, r.invites(fmt.Sprint("other-", i)))
	}
	waiting := r.waitingReplays()
	limit := time.Minute + 2*time.Duration(*replayLetters)*time.Second/time.Duration(*replayRate)
	awaitWithin(t, limit, "the replays have ended", func() bool { return r.waitingReplays() == 0 })

	var at []time.Time
	for _, l := range r.letters("--limit", "100000") {
		if l.ReplayedAt == nil || l.Replays != 1 {
			t.Fatalf("dead letter %+v", l)
		}
		at = append(at, *l.ReplayedAt)
	}
	slices.SortFunc(at, time.Time.Compare)
	most := 0
	for i, first := 0, 0; i < len(at); i++ {
		for at[i].Sub(at[first]) > time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	if most > *replayRate+*replayRate/4+1 {
		t.Errorf("%d records within a second, at %d/s", most, *replayRate)
	}
	invited := map[string]int{}
	for _, e := range r.results(schemas.TypeInvited, *replayLetters+others) {
		invited[e.Data.(schemas.Invited).ShopID]++
	}
	if len(invited) != *replayLetters+others {
		t.Errorf("%d shops are invited", len(invited))
	}
	for shop, n := range invited {
		if n != 1 {
			t.Errorf("shop %s was invited %d times", shop, n)
		}
	}
	slices.Sort(delays)
	t.Logf("%d records in %s, at most %d within a second; %d waited when the last other shop was invited; the others took %s (median) and %s (longest)",
		len(at), at[len(at)-1].Sub(at[0]).Round(time.Millisecond), most, waiting, delays[others/2], delays[others-1])
	if longest := delays[others-1]; longest > 15*time.Second {
		t.Errorf("another shop waited for %s", longest)
	}
	w.end()
}

// invites sends a selection, and returns how long it took until the shop was invited.
func (r *rig) invites(shop string) time.Duration {
	r.t.Helper()
	began := time.Now()
	r.selected(shop, shop+"@shop.example")
	await(r.t, shop+" is invited", func() bool {
		code, out, _ := r.command("shops", "show", shop, "--output", "json", "--journal-url", r.journal)
		var s shopJSON
		return code == exitDone && json.Unmarshal([]byte(out), &s) == nil && s.Invited != nil && len(s.Published) > 0
	})
	return time.Since(began)
}

// waitingReplays counts the dead letters that wait for the worker.
func (r *rig) waitingReplays() (n int) {
	r.t.Helper()
	for _, l := range r.letters("--limit", "100000", "--open") {
		if l.ReplayDue != nil {
			n++
		}
	}
	return n
}
