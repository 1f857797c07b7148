package onboarding

// LateVerdict is what late answers bring to an operation that has ended.
type LateVerdict uint8

// What late responses contain.
const (
	LateNoToken    LateVerdict = iota // none of them holds a token
	LateSameToken                     // none but tokens in use
	LateOtherToken                    // another token, or one that cannot be read
)

// A LateRule says what follows late answers. An operation that is only noted
// keeps its state and its reason.
type LateRule struct {
	Verdict   LateVerdict
	Attention bool
	Note      string
}

var lateRules = []LateRule{
	{LateNoToken, false, "a late answer without a token"},
	{LateSameToken, false, "a late answer with the token in use"},
	{LateOtherToken, true, "a late answer with another token than the one in use"},
}

// LateRuleOf finds the row of a verdict. An unknown one needs a decision.
func LateRuleOf(v LateVerdict) LateRule {
	for _, row := range lateRules {
		if row.Verdict == v {
			return row
		}
	}
	return LateRule{Verdict: v, Attention: true, Note: "late answers that were not compared"}
}
