package sandbox

import (
	"sync"
	"time"
)

type durationNS = time.Duration

// A state is everything that a start begins with and a reset throws away. Its
// lock is held for a few microseconds at a time and never while anything waits.
type state struct {
	mu        sync.Mutex
	start     time.Time // monotonic; instants are nanoseconds since then
	byToken   map[string]*account
	byPartner map[string]*account
	accounts  []*account // in the order of the settings
	peers     map[string]*client
	peerOrder []*client
	subjects  [2]map[string]*subject
	order     [2][]*subject // in the order of first appearance
	shops     map[string]*subject
	log       requestLog
	plants    stubList
	overlaps  uint64
	unseen    uint64 // checks with no known token, for their own chance
}

type account struct {
	Account
	rateMeter
	checks uint64
}

// A client is an IP address that requests came from.
type client struct {
	ip string
	rateMeter
}

// maxPeers bounds the addresses told apart; the rest share one.
const maxPeers = 10_000

// otherPeers is the name under which the rest is counted.
const otherPeers = "other"

// A subject is a code or an address that somebody asked about, or planted.
type subject struct {
	text     string
	op       Operation
	familiar namedFault
	requests uint32
	effects  uint32
	overlaps uint32
	inFlight uint32
	faulted  uint32 // how often the fault in its name held
	code     code   // activations only
}

// A code is what an activation code leads to.
type code struct {
	merchantID string
	token      string
	owner      string // partner id that alone may use it; empty until somebody has
	planted    bool
	reusable   bool
	spent      bool
	asked      uint64 // checks of its token
	checks     uint64 // those of them that were not lost to a fault
}

func newState(o Options) *state {
	st := &state{
		start:     time.Now(),
		byToken:   make(map[string]*account, len(o.Accounts)),
		byPartner: make(map[string]*account, len(o.Accounts)),
		peers:     map[string]*client{},
		subjects:  [2]map[string]*subject{{}, {}},
		shops:     map[string]*subject{},
		log:       requestLog{keep: o.MaxRecords},
		plants:    stubList{exact: map[stubKey][]*activeStub{}},
	}
	for _, a := range o.Accounts {
		limit := a.RequestsPerWindow
		if limit == 0 {
			limit = o.RequestsPerWindow
		}
		acc := &account{Account: a, rateMeter: newMeter(int64(o.Window), limit)}
		st.byToken[a.Token], st.byPartner[a.PartnerID] = acc, acc
		st.accounts = append(st.accounts, acc)
	}
	return st
}

// now is the instant of the state's own clock; under the lock it never goes back.
func (st *state) now() int64 { return int64(time.Since(st.start)) }

func (st *state) time(at int64) time.Time { return st.start.Add(time.Duration(at)).UTC().Round(0) }

func kindOf(op Operation) int {
	if op == Activate {
		return 1
	}
	return 0
}

// subject finds or makes the subject of an invitation or an activation; nil when
// there is no room for another.
func (st *state) subject(op Operation, text string, keep int) *subject {
	k := kindOf(op)
	if sub := st.subjects[k][text]; sub != nil {
		return sub
	}
	if len(st.order[k]) >= keep {
		return nil
	}
	sub := &subject{text: text, op: op, familiar: faultOf(op, text)}
	st.subjects[k][text] = sub
	st.order[k] = append(st.order[k], sub)
	return sub
}

func (st *state) peer(ip string, o Options) *client {
	if p := st.peers[ip]; p != nil {
		return p
	}
	if len(st.peerOrder) >= maxPeers {
		ip = otherPeers
		if p := st.peers[ip]; p != nil {
			return p
		}
	}
	p := &client{ip: ip, rateMeter: newMeter(int64(o.Window), o.EgressPerWindow)}
	st.peers[ip] = p
	st.peerOrder = append(st.peerOrder, p)
	return p
}

// A record is one request in the log. Its size bounds the memory of the log:
// under 100 bytes each, beside the text that it shares with its subject.
type record struct {
	arrived  int64
	answered int64 // -1: not yet
	text     string
	fault    string // shared with the table
	account  *account
	peer     *client
	status   uint16
	op       opCode
	effect   bool
}

type opCode uint8

var operations = [...]Operation{Invite, Activate, Check, Unknown}

func opCodeOf(op Operation) opCode {
	for i, o := range operations {
		if o == op {
			return opCode(i)
		}
	}
	return opCode(len(operations) - 1)
}

// A requestLog keeps the first requests and counts them all.
type requestLog struct {
	keep   int
	total  uint64
	chunks [][]record
}

const chunkLength = 1024

// add gives the place for the next request, nil when the log is full, and its number.
func (l *requestLog) add() (*record, uint64) {
	n := l.total
	l.total++
	if n >= uint64(l.keep) {
		return nil, n
	}
	if n%chunkLength == 0 {
		l.chunks = append(l.chunks, make([]record, 0, chunkLength))
	}
	c := &l.chunks[len(l.chunks)-1]
	*c = append(*c, record{})
	return &(*c)[len(*c)-1], n
}

func (l *requestLog) kept() int { return int(min(l.total, uint64(l.keep))) }
