package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// scripts are what a shell reads to complete our words, with %s for the program's name.
func scripts() map[string]string {
	return map[string]string{
		"bash": `_%[1]s() {
	local IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _%[1]s %[1]s
`,
		"zsh": `#compdef %[1]s
_%[1]s() { compadd -- ${(f)"$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"} || _files }
compdef _%[1]s %[1]s
`,
		"fish": `complete -c %[1]s -a '(%[1]s __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
	}
}

// Completion is the command that prints what a shell reads to complete a program's words.
func Completion(program string) Command {
	all := scripts()
	shells := strings.Join(slices.Sorted(maps.Keys(all)), "|")
	return Command{
		Name: "completion", Args: shells, MinArgs: 1, MaxArgs: 1, Short: "print what a shell needs to complete our words",
		Long: "Print what a shell needs to complete our words. For bash: source <(" + program + " completion bash)",
		Run: func(c *Call) error {
			script, ok := all[c.Args[0]]
			if !ok {
				return c.Usagef("%s: want %s", c.Args[0], shells)
			}
			_, err := fmt.Fprintf(c.Out, script, program)
			return err
		},
	}
}
