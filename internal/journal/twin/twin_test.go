// Package twin compares two implementations of the journal. Both get the same calls
// in the same order, with one clock. After every call their results and all of their
// tables must be the same. A seed determines the random calls.
package twin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

var (
	firstSeed = flag.Uint64("twin.seed", 1, "the first seed of the calls")
	seeds     = flag.Int("twin.runs", 8, "how many seeds are run, each with new journals")
	trace     = flag.Bool("twin.trace", false, "print all calls of a seed that fails, and not only the last")
	calls     = flag.Int("twin.calls", 400, "how many calls each seed makes")
)

// TestTwin compares the journals on SQLite and on PostgreSQL.
func TestTwin(t *testing.T) {
	server := pgtest.Start(t)
	c := newCover()
	runs := *seeds
	if testing.Short() {
		runs = min(runs, 1)
	}
	for i := range runs {
		seed := *firstSeed + uint64(i) // #nosec G115 -- a small number
		if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			run(t, seed, *calls, c, newSQLite(t), newPostgres(t, server))
		}) {
			return
		}
	}
	if runs >= flagDefault("twin.runs") && *calls >= flagDefault("twin.calls") && *firstSeed == 1 {
		c.check(t)
	}
}

// flagDefault is the default of a flag that is a number.
func flagDefault(name string) (n int) {
	_, err := fmt.Sscan(flag.Lookup(name).DefValue, &n)
	if err != nil {
		panic(err)
	}
	return n
}

// A twin is a pair of journals that get the same calls.
type twin struct {
	*testing.T
	ctx        context.Context
	seed       uint64
	sides      [2]*side
	layouts    []layout
	ids        pairing
	clock      *clock
	random     *rand.Rand
	keys       *keyset.Set
	recovering bool
	forgetting journal.PruneTarget
	openings   int
	underWay   []int64         // attempts without an end
	orderly    map[string]bool // tables whose events both have in the same order
	states     map[int64]journal.State
	walked     map[[2]journal.State]bool // transitions of this run
	cover      *cover
	history    []string
}

func newTwin(t *testing.T, seed uint64, c *cover, left, right *side) *twin {
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &twin{
		T: t, ctx: t.Context(), seed: seed, sides: [2]*side{left, right}, layouts: layouts(), ids: newPairing(), keys: keys, cover: c,
		clock:  &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		random: rand.New(rand.NewPCG(seed, 1)), // #nosec G404 -- the calls of a test
		states: map[int64]journal.State{}, walked: map[[2]journal.State]bool{}, orderly: map[string]bool{},
	}
	w.open()
	for _, s := range w.sides {
		s.identity = s.j.Identity()
	}
	return w
}

func run(t *testing.T, seed uint64, calls int, c *cover, left, right *side) {
	w := newTwin(t, seed, c, left, right)
	g := newGenerator(w)
	g.begin()
	// Rare calls are made at least once.
	for _, part := range []struct {
		calls int
		rare  func()
	}{{calls / 4, g.tour}, {calls / 2, g.rareSteps}, {calls * 3 / 4, g.recovery}, {calls, g.closed}} {
		for len(w.history) < part.calls {
			g.step()
		}
		part.rare()
	}
}

// open opens both journals, for the first time or again.
func (w *twin) open() {
	w.Helper()
	w.both(func(_ int, s *side) {
		if s.j != nil {
			s.reader()
			if err := s.j.Close(); err != nil {
				w.Errorf("%s: close: %v", s.name, err)
			}
		}
		j, err := s.open(options{planner: s.plan, now: w.clock.now, recover: w.recovering})
		if err != nil {
			w.Errorf("%s: open: %v", s.name, err)
			return
		}
		s.j, s.views, s.looks = j, map[string]journal.ShopView{}, map[string]journal.RestoredOperation{}
		w.Cleanup(func() { _ = j.Close() })
	})
	w.openings++
	if w.Failed() {
		w.FailNow()
	}
	w.history = append(w.history, "open")
	w.equal("open", nil)
}

// both runs a function for the two sides at the same time.
func (w *twin) both(do func(i int, s *side)) {
	var group sync.WaitGroup
	for i, s := range w.sides {
		group.Go(func() { do(i, s) })
	}
	group.Wait()
}

// bytesShown finds the sealed values and digests of printed arguments.
var bytesShown = regexp.MustCompile(`\[\d+( \d+){7,}\]`)

// call calls a method of both journals and compares the results. It returns the result
// with the ids of the left side, without the error.
func (w *twin) call(method string, args ...any) ([]any, error) {
	w.Helper()
	w.cover.methods[method]++
	w.history = append(w.history, fmt.Sprintf("%s %s(%s)", w.clock.at.Format("15:04:05.000000"), method, bytesShown.ReplaceAllString(fmt.Sprintf("%+v", args), "[…]")))
	var got [2][]any
	var errs [2]error
	w.both(func(i int, s *side) {
		clear(s.views)
		clear(s.looks)
		got[i], errs[i] = w.callOne(w.ctx, i, s, method, args)
	})
	differences := w.compareErrors(method, errs)
	w.equal(method, differences, func() []string {
		differences := w.compareAnswers(got, errs)
		if errs[0] == nil { // else either may have been asked about more than the other
			differences = append(differences, w.compareLooks()...)
		}
		return differences
	})
	return got[0], errs[0]
}

// compareErrors compares what a call failed with on the two sides, by its class.
func (w *twin) compareErrors(method string, errs [2]error) []string {
	// An invalid call that also comes too late may fail with either error.
	if a, b := class(errs[0]), class(errs[1]); a != b && (errs[0] == nil || errs[1] == nil || a != senseless && b != senseless) {
		return []string{fmt.Sprintf("the errors of %s differ:\n  %s: %v (%s)\n  %s: %v (%s)", method, w.sides[0].name, errs[0], a, w.sides[1].name, errs[1], b)}
	}
	w.cover.outcomes[method+": "+class(errs[0])]++
	return nil
}

// compareAnswers compares what a call returned on the two sides.
func (w *twin) compareAnswers(got [2][]any, errs [2]error) (differences []string) {
	if errs[0] == nil && errs[1] == nil {
		for i := range got[0] {
			differences = append(differences, w.compareValues(fmt.Sprintf("answer %d", i), got[0][i], got[1][i])...)
		}
	}
	if errs[0] != nil && errs[1] != nil {
		differences = append(differences, detail(errs[0], errs[1])...)
	}
	return differences
}

// compareLooks compares what the planners and the restorers saw.
func (w *twin) compareLooks() []string {
	return append(w.compareValues("what the planner saw", w.sides[0].views, w.sides[1].views),
		w.compareValues("what the restorer saw", w.sides[0].looks, w.sides[1].looks)...)
}

func (w *twin) compareValues(what string, left, right any) []string {
	right = w.translate(reflect.ValueOf(&right).Elem().Elem(), w.ids.left).Interface()
	if list, ok := right.([]journal.OutboxRow); ok {
		slices.SortFunc(list, func(a, b journal.OutboxRow) int { return int(a.Row - b.Row) })
	}
	if list, ok := right.([]journal.ShopRecord); ok { // shops of one import have ids in any order
		slices.SortFunc(list, func(a, b journal.ShopRecord) int { return int(b.ID - a.ID) })
	}
	for _, x := range []any{left, right} {
		if list, ok := x.([]journal.UnknownShop); ok { // by their ids
			slices.SortStableFunc(list, func(a, b journal.UnknownShop) int { return strings.Compare(a.Account+"/"+a.Shop, b.Account+"/"+b.Shop) })
		}
	}
	if d := cmp.Diff(left, right, w.comparing()...); d != "" {
		return []string{fmt.Sprintf("%s differs (-%s +%s):\n%s", what, w.sides[0].name, w.sides[1].name, d)}
	}
	return nil
}

// comparing leaves out the parts of results that differ by design.
func (w *twin) comparing() []cmp.Option {
	o := []cmp.Option{
		cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(journal.Stats{}, "Bytes", "Events", "DeadLetters"), // of the database; counted by ids, which may have gaps
		cmpopts.IgnoreFields(journal.Capacity{}, "Used", "Free"),                // of the database
		cmpopts.IgnoreFields(journal.AuditEntry{}, "Salt", "Digest", "Hash"),    // the salt is random
		cmpopts.IgnoreFields(journal.RelayLease{}, "Term", "ExpiresAt"),         // one database has one publisher only
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() != nil && p.Last().Type().Kind() == reflect.Func }, cmp.Ignore()),
	}
	if w.openings > 1 {
		// One database knows that no process before this one can send any more.
		o = append(o, cmpopts.IgnoreFields(journal.ClaimedOperation{}, "ConnectionClosed"))
	}
	return o
}

// equal fails the test if the two differ.
func (w *twin) equal(method string, differences []string, more ...func() []string) {
	w.Helper()
	var rows []string
	var err error
	// A row that a read should not have written is found after the next call.
	if !slices.Contains(reads, method) {
		rows, err = w.compareTables(w.ctx)
	}
	if err != nil {
		w.Fatal(err)
	}
	for _, m := range more {
		differences = append(differences, m()...)
	}
	differences = append(differences, rows...)
	if len(differences) == 0 {
		return
	}
	last := w.history
	if !*trace {
		last = last[max(0, len(last)-12):]
	}
	for i := range last {
		if r := []rune(last[i]); len(r) > 900 && i < len(last)-1 {
			last[i] = string(r[:900]) + "…"
		}
	}
	w.Fatalf("-twin.seed=%d: call %d, %s: the journals differ\n%s\n\nthe last calls:\n%s", w.seed, len(w.history), method,
		strings.Join(differences, "\n"), strings.Join(last, "\n"))
}

func (w *twin) callOne(ctx context.Context, i int, s *side, method string, args []any) (got []any, err error) {
	m := reflect.ValueOf(s.j).MethodByName(method)
	var in []reflect.Value
	if m.Type().NumIn() > 0 && m.Type().In(0) == reflect.TypeFor[context.Context]() {
		in = append(in, reflect.ValueOf(ctx))
	}
	for _, a := range args {
		to := m.Type().In(len(in))
		switch a := a.(type) {
		case nil:
			in = append(in, reflect.Zero(to))
			continue
		case perSide:
			in = append(in, reflect.ValueOf(a(s)).Convert(to))
			continue
		case rawID:
			n := a.id
			if other, ok := w.ids.right[a.series][n]; ok && i == 1 {
				n = other
			}
			in = append(in, reflect.ValueOf(n).Convert(to))
			continue
		}
		v := reflect.ValueOf(a)
		if i == 1 {
			v = w.translate(v, w.ids.right)
		}
		in = append(in, v.Convert(to))
	}
	call := m.Call
	if m.Type().IsVariadic() {
		call = m.CallSlice
	}
	for _, v := range call(in) {
		switch {
		case v.Type() == reflect.TypeFor[error]():
			err, _ = reflect.TypeAssert[error](v)
		case v.Kind() == reflect.Chan:
			v.TryRecv() // a signal too many is allowed, so they are not compared
		case v.Type() == reflect.TypeFor[uuid.UUID]() && v.Interface() == s.identity:
			got = append(got, "the first identity") // each makes its own
		default:
			got = append(got, v.Interface())
		}
	}
	if method == "Restore" && i == 1 && err == nil {
		if n, ok := w.ids.left["operation"][got[0].(int64)]; ok {
			got[0] = n
		}
	}
	return got, err
}

// reads are methods that change nothing.
var reads = []string{
	"Accounts", "Audit", "AuditAfter", "Changed", "Credential", "CredentialVersion", "PublishedCredential", "DeadLetters", "Due", "DueReplays", "AvailablePermits", "Identity", "Intents", "IntentsChanged", "KeyRows", "Operation", "Operations", "Origin",
	"OutboxChanged", "Pending", "PendingIntents", "Positions", "Preview", "PublishedOffsets", "RecoveryDue", "Responses", "Capacity", "Shop", "Shops", "Stats", "LeaseReleased",
	"UnknownSince", "UsedKeys", "WorkerReports",
}

// A perSide argument is made for each of the journals.
type perSide func(*side) any

// sentinels are the errors of the contract.
var sentinels = []error{
	journal.ErrStale, journal.ErrPosition, journal.ErrMerchantConflict, journal.ErrVersionTaken, journal.ErrOlderVersion, journal.ErrPartnerDiffers,
	journal.ErrNotFound, journal.ErrClosed, journal.ErrHeld, journal.ErrNewer, journal.ErrReadOnly, journal.ErrNotDurable, journal.ErrTooManyIntents,
	journal.ErrLeaseHeld, journal.ErrNotRecovering, journal.ErrCopy, journal.ErrFull, journal.ErrDisk, journal.ErrReplaced, journal.ErrUnreachable,
	journal.ErrKeyMissing, journal.ErrKeyRetired, journal.ErrMoved, journal.ErrIntentExists, journal.ErrDisconnected,
}

// senseless is the class of errors that describe what is invalid in the call.
const senseless = "another error"

// class returns which of the contract's errors err is.
func class(err error) string {
	var classes []string
	for _, s := range sentinels {
		if errors.Is(err, s) {
			classes = append(classes, s.Error())
		}
	}
	if e, ok := errors.AsType[*journal.NoPermitError](err); ok {
		classes = append(classes, e.Error())
	}
	if e, ok := errors.AsType[*journal.AddressCoolDownError](err); ok {
		classes = append(classes, e.Error())
	}
	switch {
	case err == nil:
		return "no error"
	case classes == nil:
		return senseless
	}
	return strings.Join(classes, ", ")
}

// detail returns the properties of an error to compare beside its class.
func detail(left, right error) []string {
	if a, ok := errors.AsType[*journal.NoPermitError](left); ok {
		if b, ok := errors.AsType[*journal.NoPermitError](right); ok && (a.RateLimit != b.RateLimit || !a.Next.Equal(b.Next)) {
			return []string{fmt.Sprintf("the errors differ: %+v, %+v", a, b)}
		}
	}
	if a, ok := errors.AsType[*journal.AddressCoolDownError](left); ok {
		if b, ok := errors.AsType[*journal.AddressCoolDownError](right); ok && (a.Open != b.Open || !a.At.Equal(b.At)) {
			return []string{fmt.Sprintf("the errors differ: %+v, %+v", a, b)}
		}
	}
	return nil
}

// A cover counts the methods, transitions and errors that the calls of all seeds have
// reached.
type cover struct {
	methods     map[string]int
	outcomes    map[string]int // of methods: their errors
	transitions map[[2]journal.State]int
}

func newCover() *cover {
	return &cover{methods: map[string]int{}, outcomes: map[string]int{}, transitions: map[[2]journal.State]int{}}
}

// check fails if some part of the contract was never reached. What is rare is required of
// 20 seeds and more.
func (c *cover) check(t *testing.T) {
	long := *seeds >= 20
	for m := range reflect.TypeFor[journal.Journal]().Methods() {
		if c.methods[m.Name] == 0 && (long || !slices.Contains(rareOutcomes[m.Name], nil)) {
			t.Errorf("no call of %s", m.Name)
		}
	}
	for from, list := range mustTransitions {
		for _, to := range list {
			if e := [2]journal.State{from, to}; c.transitions[e] == 0 && (long || !slices.Contains(rareTransitions, e)) {
				t.Errorf("no operation went from %v to %v", from, to)
			}
		}
	}
	for method, errs := range mustOutcomes {
		for _, err := range append(errs, nil) {
			if c.outcomes[method+": "+class(err)] == 0 && (long || !slices.Contains(rareOutcomes[method], err)) {
				t.Errorf("no call of %s ended with: %s", method, class(err))
			}
		}
	}
	var lines []string
	for e, n := range c.transitions {
		lines = append(lines, fmt.Sprintf("%v -> %v: %d", e[0], e[1], n))
	}
	for o, n := range c.outcomes {
		lines = append(lines, fmt.Sprintf("%s: %d", o, n))
	}
	slices.Sort(lines)
	t.Logf("%d methods, %d transitions\n%s", len(c.methods), len(c.transitions), strings.Join(lines, "\n"))
}

// rareTransitions and rareOutcomes are not reached by every few seeds.
var (
	rareTransitions = [][2]journal.State{{journal.Received, journal.Planned}, {journal.Claimed, journal.Waiting}}
	rareOutcomes    = map[string][]error{
		"EndIntent":           {journal.ErrStale},
		"PublishedCredential": {nil},
	}
)

// mustTransitions and mustOutcomes are what the calls of the first seeds have to reach.
var (
	mustTransitions = map[journal.State][]journal.State{
		0:                  {journal.Queued, journal.Planned, journal.Attention},
		journal.Queued:     {journal.Planned, journal.Superseded},
		journal.Planned:    {journal.Claimed, journal.Queued, journal.Superseded, journal.Unknown},
		journal.Waiting:    {journal.Claimed, journal.Superseded},
		journal.Claimed:    {journal.Sending, journal.Planned, journal.Waiting, journal.Unknown, journal.Attention, journal.Done, journal.Superseded},
		journal.Sending:    {journal.Received, journal.Unknown, journal.Waiting, journal.Attention, journal.Done, journal.Superseded},
		journal.Received:   {journal.Stored, journal.Done, journal.Attention, journal.Unknown, journal.Planned},
		journal.Stored:     {journal.Done, journal.Attention},
		journal.Unknown:    {journal.Planned, journal.Queued, journal.Waiting, journal.Attention, journal.Done, journal.Superseded, journal.Received},
		journal.Attention:  {journal.Planned, journal.Queued, journal.Received, journal.Done, journal.Superseded, journal.Unknown},
		journal.Done:       {journal.Planned, journal.Queued, journal.Attention, journal.Superseded},
		journal.Superseded: {journal.Planned, journal.Queued, journal.Attention},
	}
	mustOutcomes = map[string][]error{
		"Ingest":              {journal.ErrPosition, journal.ErrNotFound},
		"Claim":               {journal.ErrNotFound},
		"BeginAttempt":        {journal.ErrStale, &journal.NoPermitError{RateLimit: "account/default"}, &journal.AddressCoolDownError{}},
		"BeginCheck":          {&journal.NoPermitError{RateLimit: "account/default"}},
		"SaveResponse":        {journal.ErrNotFound},
		"Apply":               {journal.ErrStale, journal.ErrMerchantConflict, journal.ErrVersionTaken, journal.ErrOlderVersion},
		"EndReview":           {journal.ErrStale},
		"ActOnShop":           {journal.ErrStale, journal.ErrNotFound},
		"EndDestruction":      {journal.ErrStale},
		"PublishedCredential": {journal.ErrNotFound, journal.ErrDisconnected},
		"Replay":              {journal.ErrStale},
		"MoveCredential":      {journal.ErrStale, journal.ErrVersionTaken, journal.ErrMerchantConflict},
		"AppendIntent":        {journal.ErrNotFound, journal.ErrIntentExists},
		"EndIntent":           {journal.ErrStale},
		"EnsureAccount":       {journal.ErrPartnerDiffers},
		"SetCircuit":          {journal.ErrStale, journal.ErrNotFound},
		"ReserveTrial":        {journal.ErrStale, journal.ErrNotFound},
		"Pending":             {journal.ErrStale},
		"MarkPublished":       {journal.ErrStale},
		"ResetPositions":      {journal.ErrNotRecovering},
	}
)
