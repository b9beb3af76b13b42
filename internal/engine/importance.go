package engine

import "strconv"

// LabelImportance is the label that says how important a container is, from 0 to 100: when memory is short, less
// important ones give way first. 100 is never touched by the engine.
const LabelImportance = "dev.tare.importance"

// Importances that mean something of their own.
const (
	importanceUsual = 50
	importanceMost  = 100
)

// importance is the container's place in the order of sacrifice.
func importance(r *Record) int {
	if n, err := strconv.Atoi(r.Config.Labels[LabelImportance]); err == nil && n >= 0 && n <= importanceMost {
		return n
	}
	return importanceUsual
}

// checkImportance refuses what is no importance: one that is mistyped would be an order that nobody meant.
func checkImportance(r *Record) error {
	text, ok := r.Config.Labels[LabelImportance]
	if n, err := strconv.Atoi(text); ok && (err != nil || n < 0 || n > importanceMost) {
		return Errorf(Invalid, "label %s=%s: must be a number from 0 to %d", LabelImportance, text, importanceMost)
	}
	return nil
}

// oomScoreAdj is what tells the kernel whom to kill first when memory has run out: proc_pid_oom_score_adj(5). What a
// client sets holds; 0 is as good as not set. Else each step of importance is worth 1 % of the device's memory: from 0
// for the most important, as much as the device's own programs, to 900. A container must never inherit the engine's
// or the keeper's.
func oomScoreAdj(r *Record) int {
	if r.Host.OomScoreAdj != 0 {
		return r.Host.OomScoreAdj
	}
	return min(1000-10*importance(r), 900)
}
