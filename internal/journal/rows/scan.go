package rows

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Scanner fills structs of type T from the rows of a result. It matches columns and
// fields by name.
type Scanner[T any] struct {
	columns []string
	fields  [][]int
}

// Scan returns a row as a T.
func (s *Scanner[T]) Scan(columns []string, values []any) (*T, error) {
	if s.columns == nil || !slices.Equal(s.columns, columns) {
		if err := s.match(columns); err != nil {
			return nil, err
		}
	}
	row := new(T)
	v := reflect.ValueOf(row).Elem()
	for i, index := range s.fields {
		if err := set(v.FieldByIndex(index), values[i]); err != nil {
			return nil, fmt.Errorf("column %s: %w", columns[i], err)
		}
	}
	return row, nil
}

func (s *Scanner[T]) match(columns []string) error {
	t := reflect.TypeFor[T]()
	byName := make(map[string][]int)
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("db"), ","); name != "" {
			byName[name] = f.Index
		}
	}
	s.fields = s.fields[:0]
	for _, c := range columns {
		index, ok := byName[c]
		if !ok {
			return fmt.Errorf("%s has no field for column %s", t, c)
		}
		s.fields = append(s.fields, index)
	}
	s.columns = slices.Clone(columns)
	return nil
}
