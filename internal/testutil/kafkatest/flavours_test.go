package kafkatest

import (
	"errors"
	"fmt"
	"testing"
)

// recordedTB is a testing.TB that remembers how it was ended.
type recordedTB struct {
	testing.TB
	result string
}

func (v *recordedTB) Helper()      {}
func (v *recordedTB) Skip(...any)  { v.result = "skip" }
func (v *recordedTB) Fatal(...any) { v.result = "fatal" }

func TestRequire(t *testing.T) {
	t.Run("SkipsUnlessRequired", testRequireSkipsUnlessRequired)
	t.Run("FolderWithoutJars", testRequireFolderWithoutJars)
}

func testRequireSkipsUnlessRequired(t *testing.T) {
	missing := fmt.Errorf("%w: no java", ErrNotInstalled)
	for _, test := range []struct {
		required string
		err      error
		want     string
	}{
		{"", nil, ""},
		{"kafka", nil, ""},
		{"", missing, "skip"},
		{"postgres", missing, "skip"},
		{"kafkaesque", missing, "skip"},
		{"kafka", missing, "fatal"},
		{"postgres,kafka", missing, "fatal"},
		{"postgres kafka", missing, "fatal"},
		{"", errors.New("it broke"), "fatal"},
	} {
		t.Setenv(requireVariable, test.required)
		v := &recordedTB{}
		orSkip(v, test.err)
		if v.result != test.want {
			t.Errorf("required %q, error %v: %q, want %q", test.required, test.err, v.result, test.want)
		}
	}
}

func testRequireFolderWithoutJars(t *testing.T) {
	t.Setenv(jarsVariable, "")
	c, err := StartReal(t.Context(), Config{})
	if err == nil {
		t.Fatal(errors.Join(errors.New("it started"), c.Close()))
	}
	if !errors.Is(err, ErrNotInstalled) {
		t.Errorf("%v, want %v", err, ErrNotInstalled)
	}
}
