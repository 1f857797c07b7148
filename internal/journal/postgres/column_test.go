package postgres

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/testutil/pgtest"
)

// What is sent as columns is read back as it was.
func TestColumn(t *testing.T) {
	t.Parallel()
	type row struct {
		ID     int64  `db:"id,key"`
		Number int64  `db:"number"`
		Text   string `db:"words"`
		Blob   []byte `db:"bytes,null"`
		Flag   bool   `db:"flag"`
	}
	x := rows.TableOf[row]("kept")
	texts := []string{"", "x", `{"a",NULL,\\}`, "Магазин «Ёж»\n\t", strings.Repeat("long", 100_000), "NULL", "'"}
	blobs := [][]byte{nil, {}, {0}, []byte(`{}"\`), make([]byte, 300_000), {255, 0, 255}, nil}
	numbers := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt32, math.MinInt32}
	var list []any
	for i := range texts {
		list = append(list, &row{ID: int64(i), Number: numbers[i], Text: texts[i], Blob: blobs[i], Flag: i%2 == 1})
	}

	server := pgtest.Start(t)
	config, err := parse(server.Database(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), config.ConnString(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (id int PRIMARY KEY, number bigint, words text, bytes bytea, flag bigint)"); err != nil {
		t.Fatal(err)
	}
	statements := rowTexts{make(rows.Statements)}
	// The second time the statements are prepared already.
	for _, part := range [][]any{list[:1], list[1:]} {
		var b pgx.Batch
		var before []any
		for _, r := range part {
			before = append(before, &row{ID: r.(*row).ID, Number: 7, Text: "before", Blob: []byte("before")})
		}
		b.Queue(statements.insert(x), arrays(x, before, x.Inserted())...)
		b.Queue(statements.update(x, x.Inserted()), arrays(x, part, x.Inserted())...)
		growBuffer(conn, &b)
		if err := conn.SendBatch(t.Context(), &b).Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := conn.Query(t.Context(), "SELECT id, number, words, bytes, flag = 1 FROM kept ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := 0; r.Next(); i++ {
		got := new(row)
		if err := fill(x, got, r); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, list[i]) {
			t.Errorf("row %d was changed", i)
		}
		list[i] = nil
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	for i, left := range list {
		if left != nil {
			t.Errorf("row %d is missing", i)
		}
	}
}
