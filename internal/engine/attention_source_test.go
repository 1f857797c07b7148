package engine

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"invoicebox-worker/internal/onboarding"
)

// Every transition to attention in the source names a reason that has a row.
func TestAttention_EveryAttentionInTheSourceHasARow(t *testing.T) {
	declared := declaredReasons(t)
	found := 0
	for _, file := range []string{"execute.go", "activation_response.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "toAttention" {
				return true
			}
			name := call.Args[len(call.Args)-1].(*ast.SelectorExpr).Sel.Name
			found++
			if onboarding.AttentionFailure(declared[name]) == "" {
				t.Errorf("%s: %s has no row with an event", file, name)
			}
			return true
		})
	}
	if found < 5 {
		t.Errorf("only %d calls found", found)
	}
}

// declaredReasons reads the typed constants from the source of the rules.
func declaredReasons(t *testing.T) map[string]onboarding.Reason {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../onboarding/reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]onboarding.Reason{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if ok {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[spec.Names[0].Name] = onboarding.Reason(text)
		}
		return true
	})
	return out
}
