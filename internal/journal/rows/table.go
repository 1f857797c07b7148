package rows

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Column describes a column of a table and the field that holds it.
type Column struct {
	Name  string
	Key   bool // part of the primary key
	Fixed bool // never changed once written
	Null  bool // the zero value is NULL
	Auto  bool // assigned by the database when the row is inserted
	Wide  bool // its values may be large
	Kind  ColumnKind
	field int
}

// A ColumnKind is the type of a column in the database.
type ColumnKind uint8

// The kinds of columns.
const (
	Integer ColumnKind = iota
	Text
	Blob
)

// A Table describes the rows of one table, which are structs of one type.
type Table struct {
	Name    string
	Columns []Column // in the order of the schema
	row     reflect.Type
}

// TableOf describes the table with a name, whose rows are Ts.
func TableOf[T any](name string) *Table {
	t := &Table{Name: name, row: reflect.TypeFor[T]()}
	for i := range t.row.NumField() {
		f := t.row.Field(i)
		words := strings.Split(f.Tag.Get("db"), ",")
		c := Column{Name: words[0], field: i, Key: slices.Contains(words, "key"), Null: slices.Contains(words, "null"), Auto: slices.Contains(words, "auto"), Wide: slices.Contains(words, "wide")}
		c.Fixed = c.Key || slices.Contains(words, "fixed")
		switch f.Type.Kind() {
		case reflect.String:
			c.Kind = Text
		case reflect.Slice:
			c.Kind = Blob
		default:
			c.Kind = Integer
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}

// New returns a pointer to an empty row.
func (t *Table) New() any { return reflect.New(t.row).Interface() }

// Changes reports whether rows may change after the insert.
func (t *Table) Changes() bool {
	return slices.ContainsFunc(t.Columns, func(c Column) bool { return !c.Fixed })
}

// Names lists the columns.
func (t *Table) Names() []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}

// Value returns column i of a row (a pointer to its struct): nil, int64, string or
// []byte.
func (t *Table) Value(row any, i int) any {
	c := &t.Columns[i]
	v := reflect.ValueOf(row).Elem().Field(c.field)
	if c.Null && v.IsZero() {
		return nil
	}
	return valueOf(v)
}

// Int is column i of a row that holds a number, 0 for NULL.
func (t *Table) Int(row any, i int) int64 { return intOf(t.field(row, i)) }

// Str is column i of a row that holds a text.
func (t *Table) Str(row any, i int) string { return t.field(row, i).String() }

// Bytes is column i of a row that holds a blob, nil for NULL.
func (t *Table) Bytes(row any, i int) []byte { return t.field(row, i).Bytes() }

func (t *Table) field(row any, i int) reflect.Value {
	return reflect.ValueOf(row).Elem().Field(t.Columns[i].field)
}

// SetInt sets column i of a row that holds a number.
func (t *Table) SetInt(row any, i int, n int64) { setInt(t.field(row, i), n) }

// SetStr sets column i of a row that holds a text.
func (t *Table) SetStr(row any, i int, s string) { t.field(row, i).SetString(s) }

// SetBytes sets column i of a row that holds a blob.
func (t *Table) SetBytes(row any, i int, b []byte) { t.field(row, i).SetBytes(b) }

// SetAll fills a row from the values of all columns.
func (t *Table) SetAll(row any, values []any) error {
	if len(values) != len(t.Columns) {
		return fmt.Errorf("table %s has %d columns, not %d", t.Name, len(t.Columns), len(values))
	}
	s := reflect.ValueOf(row).Elem()
	for i, v := range values {
		if err := set(s.Field(t.Columns[i].field), v); err != nil {
			return fmt.Errorf("%s.%s: %w", t.Name, t.Columns[i].Name, err)
		}
	}
	return nil
}

// Wide reports whether a row has a value in a column whose values may be large.
func (t *Table) Wide(row any) bool {
	for i := range t.Columns {
		if t.Columns[i].Wide && !t.field(row, i).IsZero() {
			return true
		}
	}
	return false
}

// Zero returns the columns of a row that are zero: bit i is column i.
func (t *Table) Zero(row any) uint64 {
	v := reflect.ValueOf(row).Elem()
	var zero uint64
	for i := range t.Columns {
		if v.Field(t.Columns[i].field).IsZero() {
			zero |= 1 << i
		}
	}
	return zero
}

// Changed returns the columns that differ between two rows: bit i is column i.
func (t *Table) Changed(a, b any) uint64 {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	var changed uint64
	for i := range t.Columns {
		if c := &t.Columns[i]; !same(x.Field(c.field), y.Field(c.field)) {
			changed |= 1 << i
		}
	}
	return changed
}

func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.String:
		return a.String() == b.String()
	case reflect.Slice:
		return string(a.Bytes()) == string(b.Bytes()) && a.IsNil() == b.IsNil()
	default:
		return intOf(a) == intOf(b)
	}
}

func intOf(v reflect.Value) int64 {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return 1
		}
		return 0
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return int64(v.Uint()) // #nosec G115 -- our own numbers
	default:
		return v.Int()
	}
}

func valueOf(v reflect.Value) any {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		return v.Bytes()
	default:
		return intOf(v)
	}
}

// set sets a field to a value that a database returned.
func set(f reflect.Value, v any) error {
	switch x := v.(type) {
	case nil:
		f.SetZero()
		return nil
	case int64:
		if setInt(f, x) {
			return nil
		}
	case int32:
		return set(f, int64(x))
	case bool:
		if f.Kind() == reflect.Bool {
			f.SetBool(x)
			return nil
		}
		if x {
			return set(f, int64(1))
		}
		return set(f, int64(0))
	case string:
		if f.Kind() == reflect.String {
			f.SetString(x)
			return nil
		}
	case []byte:
		if f.Kind() == reflect.Slice {
			f.SetBytes(x)
			return nil
		}
	}
	return fmt.Errorf("a value of type %T for a field of type %s", v, f.Type())
}

// setInt reports whether f is a field for a number.
func setInt(f reflect.Value, n int64) bool {
	switch f.Kind() {
	case reflect.Int64, reflect.Int, reflect.Int32, reflect.Int16, reflect.Int8:
		f.SetInt(n)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		f.SetUint(uint64(n)) // #nosec G115 -- our own numbers
	case reflect.Bool:
		f.SetBool(n != 0)
	default:
		return false
	}
	return true
}
