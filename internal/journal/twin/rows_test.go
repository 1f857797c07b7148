package twin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
)

// A pairing maps the ids of one side to those of the other, for each series of ids. Ids
// may differ, because a transaction that fails leaves a gap in one database and none in
// the other.
type pairing struct{ right, left map[string]map[int64]int64 }

func newPairing() pairing {
	return pairing{right: map[string]map[int64]int64{}, left: map[string]map[int64]int64{}}
}

// bind pairs two ids. It fails if one of them is paired with another already.
func (p pairing) bind(series string, left, right int64) error {
	for _, m := range []map[string]map[int64]int64{p.right, p.left} {
		if m[series] == nil {
			m[series] = map[int64]int64{}
		}
	}
	l, lok := p.left[series][right]
	r, rok := p.right[series][left]
	if lok && l != left || rok && r != right {
		return fmt.Errorf("%s %d was paired with %d, and now would be with %d (which was %d)", series, left, r, right, l)
	}
	p.right[series][left], p.left[series][right] = right, left
	return nil
}

// seriesOf names the series of the columns that hold ids.
func seriesOf(table, column string) string {
	switch {
	case column == "id":
		return table
	case column == "ledgers" || column == "check_ledgers":
		return "ledger"
	case column == "invited_operation" || column == "active_operation":
		return "operation"
	case column == "last_attempt" || column == "receipt":
		return "attempt"
	case table == "dead_letter" && (column == "account" || column == "shop"):
		return "" // names
	case column == "row" || column == "again":
		return "outbox"
	case slices.Contains([]string{"account", "topic", "shop", "event", "operation", "attempt", "outbox"}, column) && (table != "outbox" && table != "announced" || column != "event"):
		return column
	}
	return ""
}

// groups are the columns that group the rows of a table. Only rows of one group must be
// inserted in the same order on both sides. In other tables all rows must be.
var groups = map[string][]string{
	"account": {"name"}, "topic": {"name"}, "ledger": {"name"}, "shop": {"account", "name"},
	"outbox": {"shop"}, "outbox_pending": {"outbox"}, // one shop's events have an order
}

// mayDiffer are columns in which the two databases differ by design, and why.
var mayDiffer = map[string]string{
	"audit_detail.salt": "random", "audit.detail_hash": "of the salt", "audit.hash": "of the digest",
}

// A layout holds what the comparison needs of a table.
type layout struct {
	move.Table
	series []string // of the columns
}

func layouts() (list []layout) {
	for _, t := range move.Tables() {
		l := layout{Table: t}
		for _, c := range t.Columns {
			l.series = append(l.series, seriesOf(t.Name, c))
		}
		list = append(list, l)
	}
	return append(list, layout{Table: move.Table{Name: "meta", Keys: 1, Columns: []string{"name", "value"}}, series: []string{"", ""}})
}

// compareTables compares all rows and returns what differs.
func (w *twin) compareTables(ctx context.Context) (differences []string, err error) {
	var all [2][][]move.Row
	tables := make([]move.Table, len(w.layouts))
	for i, l := range w.layouts {
		tables[i] = l.Table
	}
	var errs [2]error
	w.both(func(i int, s *side) { all[i], errs[i] = s.tables(ctx, tables) })
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.sides[i].name, err)
		}
	}
	for i, l := range w.layouts {
		if err := w.pair(l, all[0][i], all[1][i]); err != nil {
			differences = append(differences, fmt.Sprintf("table %s: %v", l.Name, err))
		}
	}
	for i, l := range w.layouts {
		differences = append(differences, w.compareTable(l, all[0][i], all[1][i])...)
	}
	w.observe(all[0])
	return differences, nil
}

// pair binds the ids of rows that are new.
func (w *twin) pair(l layout, left, right []move.Row) error {
	series := l.series[0]
	if series == "" || l.Keys != 1 {
		return nil
	}
	var newLeft, newRight []move.Row
	for _, r := range left {
		if _, ok := w.ids.right[series][r[0].(int64)]; !ok {
			newLeft = append(newLeft, r)
		}
	}
	for _, r := range right {
		if _, ok := w.ids.left[series][r[0].(int64)]; !ok {
			newRight = append(newRight, r)
		}
	}
	group := func(r move.Row) string {
		var parts []string
		for _, name := range groups[l.Name] {
			parts = append(parts, fmt.Sprint(r[slices.Index(l.Columns, name)]))
		}
		return strings.Join(parts, "/")
	}
	byGroup := map[string][]int64{}
	for _, r := range newRight {
		key := group(w.translated(l, r))
		byGroup[key] = append(byGroup[key], r[0].(int64))
	}
	for _, r := range newLeft {
		key := group(r)
		if ids := byGroup[key]; len(ids) > 0 {
			if err := w.ids.bind(series, r[0].(int64), ids[0]); err != nil {
				return err
			}
			byGroup[key] = ids[1:]
		}
	}
	return nil
}

// translated returns a row of the right side with the ids of the left. It marks ids
// without a pair.
func (w *twin) translated(l layout, r move.Row) move.Row {
	out := slices.Clone(r)
	own := func(series string, n int64) any {
		if id, ok := w.ids.left[series][n]; ok {
			return id
		}
		return fmt.Sprintf("%s %d of the right", series, n)
	}
	for i, series := range l.series {
		switch v := r[i].(type) {
		case string:
			if series == "ledger" && i > 0 { // a list
				var list []string
				for word := range strings.FieldsSeq(v) {
					n, _ := strconv.ParseInt(word, 10, 64)
					list = append(list, fmt.Sprint(own(series, n)))
				}
				out[i] = strings.Join(list, " ")
			}
		case int64:
			switch {
			case series != "" && (v != 0 || i == 0):
				out[i] = own(series, v)
			case l.Columns[i] == "lane_order":
				if id, ok := own("event", kept(w.ids.left["event"], v)).(int64); ok {
					out[i] = 2*id + v%2
				}
			case l.Columns[i] == "key_scope":
				scope := "shop"
				if r[slices.Index(l.Columns, "kind")] == int64(journal.Activate) {
					scope = "account"
				}
				out[i] = own(scope, v)
			}
		}
	}
	return out
}

// kept returns the event of a place in a lane. That of an act of a person names the last id
// that was given out, also one of an event that was not kept: then the event before it.
func kept(events map[int64]int64, order int64) (event int64) {
	event = order / 2
	for events[event] == 0 && event > 0 && order%2 == 1 {
		event--
	}
	return event
}

func (l layout) key(r move.Row) string {
	parts := make([]string, l.Keys)
	for i := range parts {
		parts[i] = shown(r[i])
	}
	return strings.Join(parts, "/")
}

// compareTable compares rows by their keys.
func (w *twin) compareTable(l layout, left, right []move.Row) (differences []string) {
	byKey := make(map[string]move.Row, len(right))
	for _, r := range right {
		r = w.translated(l, r)
		byKey[l.key(r)] = r
	}
	lane := slices.Index(l.Columns, "lane_order")
	for _, r := range left {
		if lane >= 0 {
			order := r[lane].(int64)
			r = slices.Clone(r)
			r[lane] = 2*kept(w.ids.right["event"], order) + order%2
		}
		key := l.key(r)
		other, ok := byKey[key]
		delete(byKey, key)
		if l.Name == "meta" && !compared(r) {
			continue
		}
		if !ok {
			differences = append(differences, fmt.Sprintf("table %s, key %s: only %s has it: %s", l.Name, key, w.sides[0].name, l.shown(r)))
			continue
		}
		for i, name := range l.Columns {
			if !same(r[i], other[i]) && mayDiffer[l.Name+"."+name] == "" {
				differences = append(differences, fmt.Sprintf("table %s, key %s, column %s: %s has %s, %s has %s",
					l.Name, key, name, w.sides[0].name, shown(r[i]), w.sides[1].name, shown(other[i])))
			}
		}
	}
	for key, r := range byKey {
		if l.Name == "meta" && !compared(r) || w.blank(l, r) {
			continue
		}
		differences = append(differences, fmt.Sprintf("table %s, key %s: only %s has it: %s", l.Name, key, w.sides[1].name, l.shown(r)))
	}
	return differences
}

// compared are the facts about the journal that do not depend on the database. Each side
// has an identity of its own.
func compared(r move.Row) bool {
	name, _ := r[0].(string)
	fate, known := move.FactFates()[name]
	return known && fate != move.Left && name != "identity" && name != "origin"
}

// blank rows are inserted before the transaction that needs them, and remain when it fails.
// They hold no information.
func (w *twin) blank(l layout, r move.Row) bool {
	if l.Name == "ledger" {
		return true
	}
	if l.Name != "shop" {
		return false
	}
	for i, name := range l.Columns {
		switch name {
		case "id", "account", "name", "sequence", "version":
		default:
			if r[i] != nil && r[i] != int64(0) {
				return false
			}
		}
	}
	return true
}

func (l layout) shown(r move.Row) string {
	var parts []string
	for i, name := range l.Columns {
		parts = append(parts, name+"="+shown(r[i]))
	}
	return strings.Join(parts, " ")
}

func shown(v any) string {
	switch v := v.(type) {
	case []byte:
		if len(v) > 24 {
			return hex.EncodeToString(v[:24]) + "…"
		}
		return hex.EncodeToString(v)
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

func same(a, b any) bool {
	if a, ok := a.([]byte); ok {
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	}
	return a == b
}

// observe counts the transitions of operations, and finds the attempts that are under way.
func (w *twin) observe(left [][]move.Row) {
	for i, l := range w.layouts {
		if l.series[0] == "outbox" {
			w.orderly[l.Name] = slices.IsSortedFunc(left[i], func(a, b move.Row) int {
				return cmp.Compare(w.ids.right["outbox"][a[0].(int64)], w.ids.right["outbox"][b[0].(int64)])
			})
		}
		if l.Name == "attempt" {
			w.underWay = w.underWay[:0]
			for _, r := range left[i] {
				if r[slices.Index(l.Columns, "ended")] == nil {
					w.underWay = append(w.underWay, r[0].(int64))
				}
			}
		}
		if l.Name != "operation" {
			continue
		}
		state := slices.Index(l.Columns, "state")
		for _, r := range left[i] {
			id, to := r[0].(int64), journal.State(r[state].(int64)) // #nosec G115 -- our own numbers
			if from := w.states[id]; from != to {
				w.cover.transitions[[2]journal.State{from, to}]++
				w.walked[[2]journal.State{from, to}] = true
			}
			w.states[id] = to
		}
	}
}

// idFields are fields of the contract that hold ids. An AttemptID is known by its type.
var idFields = map[reflect.Type]map[string]string{
	reflect.TypeFor[journal.ClaimRef]():         {"Operation": "operation"},
	reflect.TypeFor[journal.ReviewRef]():        {"Shop": "shop"},
	reflect.TypeFor[journal.PendingIntent]():    {"ShopID": "shop"},
	reflect.TypeFor[journal.Destruction]():      {"ShopID": "shop"},
	reflect.TypeFor[journal.ShopAction]():       {"Shop": "shop"},
	reflect.TypeFor[journal.ShopOperation]():    {"ID": "operation"},
	reflect.TypeFor[journal.OperationView]():    {"ID": "operation"},
	reflect.TypeFor[journal.OperationRecord]():  {"ID": "operation"},
	reflect.TypeFor[journal.OperationFilter]():  {"Before": "operation"},
	reflect.TypeFor[journal.Intent]():           {"ID": "intent"},
	reflect.TypeFor[journal.IntentEnd]():        {"ID": "intent"},
	reflect.TypeFor[journal.IntentFilter]():     {"Before": "intent"},
	reflect.TypeFor[journal.AuditEntry]():       {"ID": "audit"},
	reflect.TypeFor[journal.ShopRecord]():       {"ID": "shop"},
	reflect.TypeFor[journal.ShopFilter]():       {"Before": "shop"},
	reflect.TypeFor[journal.DeadLetterRecord](): {"ID": "dead_letter"},
	reflect.TypeFor[journal.Replay]():           {"ID": "dead_letter"},
	reflect.TypeFor[journal.DeadLetterFilter](): {"ID": "dead_letter", "Before": "dead_letter"},
	reflect.TypeFor[journal.OutboxRow]():        {"Row": "outbox"},
	reflect.TypeFor[journal.Published]():        {"Row": "outbox"},
	reflect.TypeFor[journal.Pruned]():           {"Next": "forgetting"},
	reflect.TypeFor[journal.Prune]():            {"After": "forgetting"},
}

var forgettingSeries = map[journal.PruneTarget]string{
	journal.PruneResponses: "attempt", journal.PruneOperations: "operation", journal.PruneAttempts: "attempt", journal.PruneEvents: "event", journal.PruneResults: "outbox",
	journal.PruneIntents: "intent", journal.PruneDeadLetters: "dead_letter",
}

// A rawID is an argument that is an id without a type of its own.
type rawID struct {
	series string
	id     int64
}

// translate copies a value with the ids of the other side. Ids that have no pair stay.
func (w *twin) translate(v reflect.Value, to map[string]map[int64]int64) reflect.Value {
	id := func(series string, v reflect.Value) {
		if series == "forgetting" {
			series = forgettingSeries[w.forgetting]
		}
		if n, ok := to[series][v.Int()]; ok {
			v.SetInt(n)
		}
	}
	switch v.Type() {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[uuid.UUID](), reflect.TypeFor[[]byte]():
		return v
	case reflect.TypeFor[journal.AttemptID]():
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		if v.Int() < 0 { // a check in an operation's row
			out.SetInt(-v.Int())
			id("operation", out)
			out.SetInt(-out.Int())
			return out
		}
		id("attempt", out)
		return out
	}
	switch v.Kind() {
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; idFields[v.Type()][name] != "" {
				id(idFields[v.Type()][name], out.Field(i))
			} else {
				out.Field(i).Set(w.translate(v.Field(i), to))
			}
		}
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(w.translate(v.Elem(), to))
		return out
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			out.SetMapIndex(k, w.translate(v.MapIndex(k), to))
		}
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(w.translate(v.Index(i), to))
		}
		return out
	}
	return v
}
