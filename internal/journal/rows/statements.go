package rows

// Statements are texts over the rows of tables, made when they are needed first.
type Statements map[Statement]string

// A Statement names a text: what it does, in the database's own terms, to which
// columns.
type Statement struct {
	Table   *Table
	Does    byte
	Columns uint64 // bit i is column i
}

// Made returns a text, and makes it if it is not there.
func (m Statements) Made(s Statement, text func() string) string {
	made, ok := m[s]
	if !ok {
		made = text()
		m[s] = made
	}
	return made
}

// Inserted is the set of columns that have a value when a row is inserted: those that
// the database does not give itself. Bit i is column i.
func (t *Table) Inserted() uint64 {
	return t.columns(func(c Column) bool { return !c.Auto })
}

// Keys is the set of columns of the primary key.
func (t *Table) Keys() uint64 {
	return t.columns(func(c Column) bool { return c.Key })
}

func (t *Table) columns(in func(Column) bool) (set uint64) {
	for i, c := range t.Columns {
		if in(c) {
			set |= 1 << i
		}
	}
	return set
}
