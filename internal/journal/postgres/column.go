package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"invoicebox-worker/internal/journal/rows"
)

// A column holds the values of one column of several rows, encoded as an array.
//
// pgx would encode each element on its own, into buffers that grow by a quarter at a time and
// are dropped after each statement. That was a third of all the memory that the worker
// allocated.
type column struct {
	array []byte
	rest  int // bytes of the statement's columns after it
}

// arrayHeader is the size of the header of an array with one dimension.
const arrayHeader = 20

// arrays returns a column for each column of the mask.
func arrays(x *rows.Table, list []any, mask uint64) []any {
	size, n := 0, 0
	for i, c := range x.Columns {
		if mask&(1<<i) == 0 {
			continue
		}
		n++
		size += arrayHeader + 4*len(list)
		for _, r := range list {
			switch c.Kind {
			case rows.Integer:
				size += 8
			case rows.Text:
				size += len(x.Str(r, i))
			case rows.Blob:
				size += len(x.Bytes(r, i))
			}
		}
	}
	all, columns, out := make([]byte, 0, size), make([]column, 0, n), make([]any, 0, n)
	for i := range x.Columns {
		if mask&(1<<i) == 0 {
			continue
		}
		begin := len(all)
		all = appendArray(all, x, list, i)
		columns = append(columns, column{array: all[begin:len(all):len(all)], rest: size - len(all)})
		out = append(out, &columns[len(columns)-1])
	}
	return out
}

// appendArray appends column i of some rows in the binary format of an array.
func appendArray(b []byte, x *rows.Table, list []any, i int) []byte {
	element, null := uint32(pgtype.Int8OID), uint32(0)
	switch x.Columns[i].Kind {
	case rows.Text:
		element = pgtype.TextOID
	case rows.Blob:
		element = pgtype.ByteaOID
		if slices.ContainsFunc(list, func(r any) bool { return x.Bytes(r, i) == nil }) {
			null = 1
		}
	}
	// The number of dimensions, whether an element is NULL, the type of the elements, how
	// many there are, and the index of the first.
	for _, n := range []uint32{1, null, element, uint32(len(list)), 1} { // #nosec G115 -- far fewer rows
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, r := range list {
		switch x.Columns[i].Kind {
		case rows.Integer:
			b = binary.BigEndian.AppendUint32(b, 8)
			b = binary.BigEndian.AppendUint64(b, uint64(x.Int(r, i))) // #nosec G115 -- its bits
		case rows.Text:
			v := x.Str(r, i)
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...) // #nosec G115 -- far shorter
		case rows.Blob:
			v := x.Bytes(r, i)
			if v == nil {
				b = binary.BigEndian.AppendUint32(b, ^uint32(0))
				continue
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...) // #nosec G115 -- far shorter
		}
	}
	return b
}

// A columnCodec also encodes columns.
type columnCodec struct{ pgtype.Codec }

// encodeColumns lets a connection encode columns, as parameters of prepared statements.
func encodeColumns(conn *pgx.Conn) {
	m := conn.TypeMap()
	for _, oid := range []uint32{pgtype.Int8ArrayOID, pgtype.TextArrayOID, pgtype.ByteaArrayOID} {
		if t, ok := m.TypeForOID(oid); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: columnCodec{t.Codec}})
		}
	}
}

// PreferredFormat is binary, also for texts.
func (columnCodec) PreferredFormat() int16 { return pgtype.BinaryFormatCode }

func (c columnCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(*column); ok && format == pgtype.BinaryFormatCode {
		return columnPlan{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

type columnPlan struct{}

// Encode appends a column. With the first column of a statement it makes room for all.
func (columnPlan) Encode(value any, b []byte) ([]byte, error) {
	c, ok := value.(*column)
	if !ok {
		return nil, fmt.Errorf("a %T is no column", value)
	}
	return append(slices.Grow(b, len(c.array)+c.rest), c.array...), nil
}

// growBuffer grows the connection's buffer once, for all columns of a batch.
func growBuffer(conn *pgx.Conn, b *pgx.Batch) {
	n := 0
	for _, q := range b.QueuedQueries {
		for _, a := range q.Arguments {
			if c, ok := a.(*column); ok {
				n += len(c.array)
			}
		}
	}
	if n > 0 {
		conn.PgConn().Frontend().Send(growth(n))
	}
}

// A growth is a message without content. Its encoding grows the buffer for the messages
// that follow.
type growth int

// Frontend marks a message to the server.
func (growth) Frontend() {}

// Decode fails: nothing is ever sent.
func (growth) Decode([]byte) error { return errors.New("growth is not a message of the protocol") }

// Encode appends nothing.
func (n growth) Encode(b []byte) ([]byte, error) {
	const others = 4096 // what the messages have besides the columns
	return slices.Grow(b, int(n)+others), nil
}

// fill fills a new row from the current row of a result, which has all columns of the
// table.
func fill(x *rows.Table, row any, r pgx.Rows) error {
	values, fields := r.RawValues(), r.FieldDescriptions()
	if len(values) != len(x.Columns) {
		return fmt.Errorf("table %s has %d columns, not %d", x.Name, len(x.Columns), len(values))
	}
	for i, v := range values {
		if v == nil {
			continue
		}
		switch c := x.Columns[i]; c.Kind {
		case rows.Text:
			x.SetStr(row, i, string(v))
		case rows.Blob:
			if fields[i].Format != pgtype.BinaryFormatCode {
				return fmt.Errorf("%s.%s: a blob in format %d", x.Name, c.Name, fields[i].Format)
			}
			x.SetBytes(row, i, bytes.Clone(v))
		case rows.Integer:
			if fields[i].Format != pgtype.BinaryFormatCode || !setInteger(x, row, i, v) {
				return fmt.Errorf("%s.%s: %d bytes in format %d are no number", x.Name, c.Name, len(v), fields[i].Format)
			}
		}
	}
	return nil
}

// setInteger sets column i of a row to a boolean, an integer or a bigint.
func setInteger(x *rows.Table, row any, i int, v []byte) bool {
	switch len(v) {
	case 1:
		x.SetInt(row, i, int64(v[0]))
	case 4:
		x.SetInt(row, i, int64(int32(binary.BigEndian.Uint32(v)))) // #nosec G115 -- its bits
	case 8:
		x.SetInt(row, i, int64(binary.BigEndian.Uint64(v))) // #nosec G115 -- its bits
	default:
		return false
	}
	return true
}
