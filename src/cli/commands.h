/* kvik's commands. Each takes the arguments after its name and returns the exit status. */
#ifndef KVIK_CLI_COMMANDS_H
#define KVIK_CLI_COMMANDS_H

#define EXIT_OK	   0
#define EXIT_ERROR 1
#define EXIT_USAGE 2

int command_run(int count, char **arguments);
int command_doctor(int count, char **arguments);
int command_kvm(int count, char **arguments);
int command_image(int count, char **arguments);

#endif
