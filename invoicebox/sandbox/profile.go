package sandbox

import (
	"math"
	"math/rand/v2"
	"time"
)

// A rate says how many of 10,000 requests meet a fault of the table.
type rate struct {
	word string
	of   int
}

// A profileConfig is a profile as data.
type profileConfig struct {
	median time.Duration // of the latency when the settings name none
	sigma  float64       // of its logarithm; 0: the latency is exact
	most   time.Duration // cap of the latency
	rates  []rate
	bursts bool // spells in which everything fails alike
	draws  bool // readings that are not set are drawn for each value
}

// tempers is the one table of profiles.
var tempers = map[Profile]profileConfig{
	Calm: {most: time.Hour},
	Realistic: {
		median: 120 * time.Millisecond, sigma: 0.7, most: 8 * time.Second,
		rates: []rate{{"error503-", 80}, {"html-", 5}, {"lost-answer-", 10}, {"error500-", 5}},
	},
	Hostile: {
		median: 90 * time.Millisecond, sigma: 1.2, most: 20 * time.Second, bursts: true, draws: true,
		rates: []rate{
			{"error500-", 120}, {"error500-after-", 120}, {"error503-", 150}, {"error503-after-", 80}, {"timeout408-", 40},
			{"reset-", 100}, {"reset-after-", 60}, {"lost-answer-", 120}, {"cut-headers-", 60}, {"half-body-", 60},
			{"broken-json-", 40}, {"empty-body-", 30}, {"error200-", 20}, {"huge-body-", 20},
			{"html-", 80}, {"html200-", 30}, {"html404-", 10}, {"redirect-", 5},
			{"limited-", 120}, {"slow-", 60}, {"drip-", 40}, {"wrong-type-", 80}, {"more-members-", 400},
		},
	},
}

// A burst is a spell of the profile hostile in which every request fails alike.
const (
	burstEvery = 45 * time.Second
	burstMost  = 6 * time.Second
)

// burstWords are the faults of a spell, one of them for all of it.
var burstWords = []string{"error503-", "reset-", "html-", "limited-", "error500-"}

// burstAt returns the fault of the spell that lies over an instant, or nil.
// Two in five slots of 45 s have one, of 1 to 6 s.
func (s seed) burstAt(at int64) *fault {
	slot := at / int64(burstEvery)
	rnd := s.stream("burst", "", uint64(slot))
	if rnd.IntN(5) > 1 {
		return nil
	}
	length := int64(time.Second) + rnd.Int64N(int64(burstMost-time.Second))
	from := slot*int64(burstEvery) + rnd.Int64N(int64(burstEvery)-length)
	if at < from || at >= from+length {
		return nil
	}
	return faultByWord(burstWords[rnd.IntN(len(burstWords))])
}

// A randomDraw is what chance has decided for one request.
type randomDraw struct {
	latency    time.Duration
	countShare float64 // of the latency, before the server counts
	fault      *fault
	retryAfter int           // replaces the fault's when drawn is set
	late       time.Duration // of a slow answer
	bare       bool          // a 429 says nothing but 429
	drawn      bool
}

// draw decides a request's fate: n-th request of its kind about text.
func (s *Sandbox) draw(op Operation, text string, n uint64) randomDraw {
	t := &s.temper
	if t.sigma == 0 && len(t.rates) == 0 {
		l := randomDraw{latency: s.options.Latency}
		if s.options.CountAt == CountBetween {
			l.countShare = s.seed.stream("count", string(op)+text, n).Float64()
		}
		l.settle(s.options.CountAt, l.countShare)
		return l
	}
	rnd := s.seed.stream(string(op), text, n)
	l := randomDraw{latency: s.drawLatency(rnd)}
	share, pick := rnd.Float64(), rnd.IntN(10_000)
	l.settle(s.countAt, share)
	for i := range t.rates {
		if pick -= t.rates[i].of; pick < 0 {
			l.fault = s.rateFaults[i]
			break
		}
	}
	if t.draws {
		l.drawn = true
		l.retryAfter = rnd.IntN(4)
		l.bare = rnd.IntN(2) == 0
		l.late = min(time.Second+time.Duration(rnd.ExpFloat64()*float64(8*time.Second)), 45*time.Second)
	} else if l.fault != nil && l.fault.shape.retryAfter > 0 {
		l.drawn = true
		l.retryAfter = 1 + rnd.IntN(3)
	}
	return l
}

func (l *randomDraw) settle(at CountAt, share float64) {
	switch at {
	case CountAtAnswer:
		l.countShare = 1
	case CountBetween:
		l.countShare = share
	default:
		l.countShare = 0
	}
}

// drawLatency draws from a log-normal distribution: most near the median, a
// few many times later.
func (s *Sandbox) drawLatency(rnd *rand.Rand) time.Duration {
	median := s.options.Latency
	if median == 0 {
		median = s.temper.median
	}
	d := time.Duration(float64(median) * math.Exp(s.temper.sigma*rnd.NormFloat64()))
	return min(d, max(s.temper.most, median))
}

// Readings that hostile draws for each value when they are not set.

func (s *Sandbox) refusalStatus(value string) int {
	if s.options.RefusalStatus != 0 {
		return s.options.RefusalStatus
	}
	if !s.temper.draws {
		return 422
	}
	return [...]int{422, 400, 404, 403, 409}[s.seed.number("refusal status", value, 0)%5]
}

func (s *Sandbox) repeatable(value string) bool {
	if s.options.CodeReuse != "" {
		return s.options.CodeReuse == Repeatable
	}
	return s.temper.draws && s.seed.chance("repeatable", value, 0.3)
}

func (s *Sandbox) idForm(value string) IDForm {
	if s.options.InvitationIDs != "" {
		return s.options.InvitationIDs
	}
	if s.temper.draws && s.seed.chance("int id", value, 0.5) {
		return Ints
	}
	return UUIDs
}

func (s *Sandbox) refusalFields(value string) bool {
	return s.options.RefusalFields || s.temper.draws && s.seed.chance("refusal fields", value, 0.5)
}

func (s *Sandbox) flatErrors(value string) bool {
	return s.options.FlatErrors || s.temper.draws && s.seed.chance("flat errors", value, 0.2)
}
