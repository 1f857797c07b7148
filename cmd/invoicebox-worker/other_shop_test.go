package main

import (
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A shop that entered the code of another shop leaves the attention queue when
// it becomes active by a code of its own.
func TestCodeOfOtherShop(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	waiting := func() string {
		return r.must(append([]string{"operations", "list", "--attention", "--output", "json"}, r.beside()...)...)
	}
	r.entered("s1", "code-1")
	r.results(schemas.TypeActivated, 1)
	r.entered("s2", "code-1")
	r.entered("s3", "code-1")
	r.results(schemas.TypeActivationFailed, 2)
	if text := waiting(); strings.Count(text, `"code_of_other_shop"`) < 2 {
		t.Fatalf("the attention queue holds\n%s", text)
	}
	r.send(schemas.TypeCodeEntered, "another-code", "s2", `{"shopId":"s2","activationCode":"code-2"}`)
	r.results(schemas.TypeActivated, 2)
	w.end()
	if text := waiting(); strings.Contains(text, `"s2"`) || !strings.Contains(text, `"s3"`) {
		t.Errorf("the attention queue holds\n%s", text)
	}
}
