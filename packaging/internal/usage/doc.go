// Package usage reads the commands and flags of a program from the program
// itself: from its help pages, and from what it says of a wrong word. What is
// made of that (shell completions, checks of the man page) follows the program
// without anybody's hand.
package usage
