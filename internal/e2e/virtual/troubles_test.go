package virtual

import (
	"cmp"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/schemas"
)

// A trouble is something that goes wrong, or ends to, at a time.
type trouble struct {
	at   time.Duration
	name string
	do   func(w *world)
}

// steps are the places in the journal where a worker dies.
var steps = []string{"ingest", "claim", "send", "receive", "apply", "mark", "start check", "end check", "expire", "circuit"}

// brokerFaults are what brokers answer for a while. Results only: the platform
// produces to the same brokers.
var brokerFaults = []kfake.Fault{
	{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut}, // appended all the same
	{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend},
	{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition},
	{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownProducerID},
	{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber},
	{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition},
	{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.NotCoordinator},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RequestTimedOut},
	{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID}, // a rebalance
	{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.RebalanceInProgress},
	{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.FindCoordinator}, Err: kerr.CoordinatorNotAvailable},
}

// brew draws the troubles of a run, within the span.
func brew(rnd *rand.Rand, n, brokers int, span time.Duration) []trouble {
	var list []trouble
	add := func(at time.Duration, name string, do func(*world)) { list = append(list, trouble{at, name, do}) }
	some := func(most time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(most))) }
	brokerAway := false
	for range n {
		at := some(span)
		length := time.Second + some(90*time.Second)
		end := min(at+length, span)
		switch rnd.IntN(14) {
		case 0:
			add(at, "killed", func(w *world) { w.crash(); w.again(awayFor(length)) })
		case 1, 2:
			step, after, nth := steps[rnd.IntN(len(steps))], rnd.IntN(2) == 0, rnd.IntN(4)
			add(at, "killed at "+step, func(w *world) { w.w.flakyJournal.dieAt(step, after, false, nth) })
		case 13:
			nth := rnd.IntN(4)
			add(at, "terminated at send", func(w *world) { w.w.flakyJournal.dieAt("send", true, true, nth) })
		case 3:
			add(at, "terminated", func(w *world) { w.terminate(); w.again(awayFor(length)) })
		case 4:
			long := length * time.Duration(1+rnd.IntN(3))
			add(at, "frozen", func(w *world) { w.freeze(true) })
			add(min(at+long, span), "thawed", func(w *world) { w.freeze(false) })
		case 5:
			slow, failing := some(2*time.Second), rnd.Float64()*0.2
			add(at, "journal in trouble", func(w *world) { w.w.flakyJournal.trouble(slow, failing) })
			add(end, "journal well", func(w *world) { w.w.flakyJournal.trouble(time.Millisecond, 0) })
		case 6:
			add(at, "leaders move", func(w *world) { w.kafka.Fake().ShufflePartitionLeaders() })
		case 7:
			if brokers == 1 || brokerAway {
				break
			}
			brokerAway = true // one in a run
			node := rnd.Int32N(int32(brokers))
			add(at, "a broker stops", func(w *world) { w.removeBroker(node) })
			add(end, "the broker starts", func(w *world) { w.addBroker(node) })
		case 8:
			add(at, "coordinators move", func(w *world) { w.kafka.Fake().RehashCoordinators() })
		case 9, 10:
			fault := brokerFaults[rnd.IntN(len(brokerFaults))]
			fault.Count = 1 + rnd.IntN(5)
			if fault.Keys[0] == kmsg.Produce {
				fault.Topic = schemas.OutputTypes()[rnd.IntN(len(schemas.OutputTypes()))]
			}
			add(at, "brokers answer "+fault.Err.Message, func(w *world) { w.faults = append(w.faults, w.kafka.Fake().Fault(fault)) })
		case 11:
			add(at, "connections to Kafka cut", func(w *world) { w.w.kafka.cut("") })
		case 12:
			i := ill(rnd.IntN(4))
			add(at, "Invoicebox away", func(w *world) {
				if i == healthy {
					w.w.api.refuse(true)
					return
				}
				w.circuit.set(i)
			})
			add(end, "Invoicebox back", func(w *world) { w.w.api.refuse(false); w.circuit.set(healthy) })
		}
	}
	slices.SortStableFunc(list, func(a, b trouble) int { return cmp.Compare(a.at, b.at) })
	return list
}

// awayFor is how long nobody starts a worker again.
func awayFor(length time.Duration) time.Duration { return length / 4 }

// freeze makes a worker a zombie, or ends that: its connections to Invoicebox
// and its journal stand still, and Kafka does not hear of it. Its timers run.
func (w *world) freeze(on bool) {
	l := w.w
	switch last := len(w.frozen) - 1; {
	case on:
		w.frozen = append(w.frozen, [2]time.Time{time.Now()})
	case last >= 0 && w.frozen[last][1].IsZero():
		w.frozen[last][1] = time.Now()
	}
	l.kafka.refuse(on)
	if on {
		l.kafka.cut("")
	}
	l.api.hold(on)
	l.flakyJournal.hold(on)
}

// again starts a worker over what the last one left.
func (w *world) again(after time.Duration) {
	pause(after)
	w.start(w.w.path)
}

func (w *world) removeBroker(node int32) {
	if err := w.kafka.Fake().RemoveNode(node); err != nil {
		w.Fatal(err)
	}
	w.w.kafka.cut(w.kafka.Brokers()[node])
}

func (w *world) addBroker(node int32) {
	if _, _, err := w.kafka.Fake().AddNode(node, 9092+int(node)); err != nil {
		w.Fatal(err)
	}
}

// heal ends all troubles.
func (w *world) heal() {
	for _, f := range w.faults {
		f.Remove()
	}
	w.circuit.set(healthy)
	w.w.api.refuse(false)
	w.freeze(false)
	w.w.flakyJournal.trouble(0, 0)
	w.w.flakyJournal.dieAt("", false, false, 0)
}

// play sends the inputs and makes the troubles, each at its time.
func (w *world) play(s *scenario.Story, span time.Duration, troubles []trouble) {
	began := time.Now()
	w.start(filepath.Join(w.dir, "journal.db"))
	inputs := s.Records
	at := func(r scenario.Record) time.Duration { return time.Duration(r.At * float64(span)) }
	for len(inputs) > 0 || len(troubles) > 0 {
		if len(troubles) == 0 || len(inputs) > 0 && at(inputs[0]) <= troubles[0].at {
			in := inputs[0]
			inputs = inputs[1:]
			w.until(began.Add(at(in)))
			w.send(in.Type, in.Message)
			continue
		}
		t := troubles[0]
		troubles = troubles[1:]
		w.until(began.Add(t.at))
		w.log.Info("trouble", "what", t.name)
		t.do(w)
	}
}

// until lets the time go by, and sees to it that there is a worker.
func (w *world) until(at time.Time) {
	for {
		if w.tend() {
			continue
		}
		select {
		case <-time.After(time.Until(at)):
			return
		case <-w.w.done:
		case <-w.w.flakyJournal.dying:
			w.crash()
			w.again(time.Second)
		case <-w.w.flakyJournal.asked:
			// The call is under way by then.
			pause(time.Duration(w.rnd.Int64N(int64(200 * time.Millisecond))))
			w.terminate()
			w.again(time.Second)
		}
	}
}
